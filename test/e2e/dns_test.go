//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/api/release"
)

// asker looks a name up twenty times a second, and prints each result. On a busy machine, each gets a second try.
const asker = `
apiVersion: v1
kind: Pod
metadata: {name: asker}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: @IMAGE@
    imagePullPolicy: Never
    command: [sh, -c, "ask() { timeout 8 nslookup kubernetes.default.svc.cluster.local >/dev/null 2>&1; }; while :; do if ask || ask; then echo ok; else echo lost; fi; sleep 0.04; done"]
`

// TestDNSPods looks names up through a restart of the control plane. None fails.
func TestDNSPods(t *testing.T) {
	t.Parallel()
	tn := install(t, "names", "e2e-dns", "controlPlane.coredns.replicas=2", "networking.advanced.dns.nodeSearchDomains=true")
	mustRun(t, hostKubectl("-n", tn.namespace, "rollout", "status", "deployment/names-dns", "--timeout", patience.String()))
	tn.apply(asker)
	tn.kubectl("wait", "--for", "condition=Ready", "pod/asker", "--timeout", patience.String())
	// The host's DNS knows the name outside.sublet.test, and its node searches that domain.
	tn.inPod("asker", "nslookup -type=A outside | grep -q 'Name:.*outside.sublet.test' && grep -q '^search .* sublet.test$' /etc/resolv.conf")
	results := tn.askerResults()
	awaitAnswers := func(more int) {
		t.Helper()
		before, _ := results()
		eventually(t, "names are resolved", func(context.Context) error {
			if ok, _ := results(); ok < before+more {
				return fmt.Errorf("%d more lookups", ok-before)
			}
			return nil
		})
	}
	awaitAnswers(20)
	okBefore, lostBefore := results()
	begun := time.Now()
	tn.replaceControlPlane()
	took := time.Since(begun)
	awaitAnswers(20)
	ok, lost := results()
	t.Logf("%d lookups, %d failed, in a restart of %s", ok-okBefore, lost-lostBefore, took)
	if lost != lostBefore {
		t.Errorf("%d of %d lookups failed while the control plane restarted", lost-lostBefore, ok-okBefore)
	}
	tn.kubectl("create", "service", "clusterip", "late", "--tcp=80:80")
	eventually(t, "a name that is made afterwards", func(context.Context) error {
		out, err := tn.command("exec", "asker", "--", "nslookup", "late.default.svc.cluster.local").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	tn.repairDNSCredential()
}

// askerResults returns a function that counts the lookups of the asker. It reads the log on the
// host, which has it also while the virtual API is away.
func (tn *tenant) askerResults() func() (ok, lost int) {
	tn.t.Helper()
	var name string
	pods, err := hostClient.CoreV1().Pods(tn.namespace).List(tn.t.Context(), metav1.ListOptions{LabelSelector: labels.Namespace + "=default"})
	if err != nil {
		tn.t.Fatal(err)
	}
	for _, pod := range pods.Items {
		if pod.Annotations[labels.VirtualName] == "asker" {
			name = pod.Name
		}
	}
	return func() (ok, lost int) {
		tn.t.Helper()
		log := mustRun(tn.t, hostKubectl("-n", tn.namespace, "logs", name))
		return strings.Count(log, "ok\n"), strings.Count(log, "lost\n")
	}
}

// replaceControlPlane deletes the pod of the control plane, and waits until its successor serves.
func (tn *tenant) replaceControlPlane() {
	tn.t.Helper()
	pods := hostClient.CoreV1().Pods(tn.namespace)
	before, err := pods.Get(tn.t.Context(), tn.controlPlanePod(), metav1.GetOptions{})
	if err != nil {
		tn.t.Fatal(err)
	}
	if err := pods.Delete(tn.t.Context(), before.Name, metav1.DeleteOptions{}); err != nil {
		tn.t.Fatal(err)
	}
	eventually(tn.t, "the control plane has another pod", func(ctx context.Context) error {
		after, err := pods.Get(ctx, before.Name, metav1.GetOptions{})
		if err == nil && after.UID == before.UID {
			return fmt.Errorf("the pod is still the first one")
		}
		return err
	})
	tn.awaitReady()
}

// repairDNSCredential changes the credential of the DNS pods by hand. The server puts it right.
func (tn *tenant) repairDNSCredential() {
	tn.t.Helper()
	own := release.Release{Name: tn.release, Namespace: tn.namespace}
	secrets := hostClient.CoreV1().Secrets(tn.namespace)
	mustRun(tn.t, hostKubectl("-n", tn.namespace, "patch", "secret", own.DNS(), "--type=merge", "-p", `{"data":{"tls.crt":null}}`))
	eventually(tn.t, "the credential is back", func(ctx context.Context) error {
		secret, err := secrets.Get(ctx, own.DNS(), metav1.GetOptions{})
		if err == nil && len(secret.Data["tls.crt"]) == 0 {
			return fmt.Errorf("no certificate")
		}
		return err
	})
}
