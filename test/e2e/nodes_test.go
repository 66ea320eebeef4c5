//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	schedulerKey = "controlPlane.advanced.virtualScheduler.enabled"
	syncBackKey  = "sync.fromHost.nodes.syncBackChanges"

	syncBackFieldsKey = "sync.fromHost.nodes.syncBackFields"
	syncBackLabelsKey = "sync.fromHost.nodes.syncBackLabels"
	sharedKey         = "sync.fromHost.nodes.syncBackSharedNodes"
	annotationsKey    = "sync.fromHost.nodes.annotations"
	// stampKey is an annotation by which the test marks a moment.
	stampKey = "example.com/stamp"
)

// TestNodeOwners checks the table of who owns what of a node, with kubectl's own
// commands, on a node of the host that is real. The settings are changed by helm
// upgrade.
func TestNodeOwners(t *testing.T) {
	tn := install(t, "owners", "tenant-owners")
	nodes, err := hostClient.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) == 0 {
		t.Fatalf("the host has no nodes: %v", err)
	}
	w := &ownedNode{tenant: tn, name: nodes.Items[0].Name}
	undo := func() {
		for _, args := range [][]string{
			{"uncordon", w.name}, {"taint", "node", w.name, "example.com/host-"}, {"taint", "node", w.name, "example.com/mine-"},
			{"label", "node", w.name, "example.com/host-", "example.com/mine-", "example.com/kept-"}, {"annotate", "node", w.name, "example.com/host-", stampKey + "-"},
		} {
			_ = hostKubectl(args...).Run()
		}
	}
	undo()
	t.Cleanup(undo)
	w.host(t, "label", "node", w.name, "example.com/host=h")
	w.host(t, "annotate", "node", w.name, "example.com/host=h")
	w.host(t, "taint", "node", w.name, "example.com/host=h:PreferNoSchedule")
	tn.await(`jsonpath={.metadata.labels.example\.com/host}=h`, "node/"+w.name)
	if out := w.kubectl("get", "node", w.name, "-o", "json"); strings.Contains(out, "providerID") || strings.Contains(out, "podCIDR") || strings.Contains(out, "ExternalIP") {
		t.Errorf("a tenant sees the node's place in the host's network by default: %s", out)
	}

	t.Run("Default", func(t *testing.T) { w.in(t).byDefault(t) })
	t.Run("VirtualScheduler", func(t *testing.T) { w.in(t).withScheduler(t) })
	t.Run("SyncBack", func(t *testing.T) { w.in(t).withSyncBack(t) })
	t.Run("Both", func(t *testing.T) { w.in(t).withBoth(t) })
	t.Run("Off", func(t *testing.T) { w.in(t).offAgain(t) })
}

// ownedNode is a node as its tenant and its operator use it.
type ownedNode struct {
	*tenant
	name string
}

func (w *ownedNode) in(t *testing.T) *ownedNode { return &ownedNode{w.tenant.in(t), w.name} }

// host runs kubectl as the operator.
func (w *ownedNode) host(t *testing.T, args ...string) {
	t.Helper()
	mustRun(t, hostKubectl(args...))
}

// requireRefused runs kubectl as the tenant, who must be told words.
func (w *ownedNode) requireRefused(t *testing.T, args []string, words ...string) {
	t.Helper()
	out, err := w.command(args...).CombinedOutput()
	// kubectl prints what went wrong with a cordon and ends well all the same.
	if err == nil && !slices.Contains([]string{"cordon", "uncordon", "drain"}, args[0]) {
		t.Errorf("kubectl %s must be refused: %s", strings.Join(args, " "), out)
		return
	}
	for _, word := range append([]string{"Forbidden"}, words...) {
		if !strings.Contains(strings.ToLower(string(out)), strings.ToLower(word)) {
			t.Errorf("kubectl %s: the refusal must say %q: %s", strings.Join(args, " "), word, out)
		}
	}
}

// upgrade changes settings as an operator does.
func (w *ownedNode) upgrade(t *testing.T, values ...string) {
	t.Helper()
	args := []string{"upgrade", w.release, filepath.Join(root, "chart"), "-n", w.namespace}
	if slices.Contains(values, syncBackKey+"=true") {
		values = append([]string{sharedKey + "=true", syncBackLabelsKey + "={example.com/mine,example.com/forbidden}", syncBackFieldsKey + "={unschedulable,taints,labels}"}, values...)
	}
	values = append([]string{annotationsKey + "={example.com/*}"}, values...)
	for _, v := range append(testValues(), values...) {
		args = append(args, "--set", v)
	}
	mustRun(t, helm(args...))
	mustRun(t, hostKubectl("-n", w.namespace, "rollout", "status", "statefulset/"+w.release, "--timeout", patience.String()))
	w.awaitReady()
	w.recordRoles()
	w.awaitSync(t)
}

// parts are the fields of a node that both sides may write.
type parts struct {
	Labels        map[string]string
	Annotations   map[string]string
	Taints        []string
	Unschedulable bool
}

func partsOf(node *corev1.Node) parts {
	p := parts{Labels: map[string]string{}, Annotations: map[string]string{}, Unschedulable: node.Spec.Unschedulable}
	maps.Copy(p.Labels, node.Labels)
	for key, value := range node.Annotations {
		if strings.HasPrefix(key, "example.com/") && key != stampKey {
			p.Annotations[key] = value
		}
	}
	for _, taint := range node.Spec.Taints {
		// Controllers of the host add these by the state of the node.
		if !strings.HasPrefix(taint.Key, "node.kubernetes.io/") {
			p.Taints = append(p.Taints, taint.ToString())
		}
	}
	slices.Sort(p.Taints)
	return p
}

// getNodes returns the host's node and the tenant's.
func (w *ownedNode) getNodes(t *testing.T) (host, virtual parts) {
	t.Helper()
	h, err := hostClient.CoreV1().Nodes().Get(t.Context(), w.name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v, err := w.virtual.CoreV1().Nodes().Get(t.Context(), w.name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return partsOf(h), partsOf(v)
}

// after checks that the host's node gets what is in want, and the tenant's the same with what mine adds. They must still
// have it when the syncer has looked at the node twice more: it takes back what it does not accept.
func (w *ownedNode) after(t *testing.T, want parts, mine func(*parts)) {
	t.Helper()
	seen := parts{Labels: maps.Clone(want.Labels), Annotations: maps.Clone(want.Annotations), Taints: slices.Clone(want.Taints), Unschedulable: want.Unschedulable}
	mine(&seen)
	slices.Sort(seen.Taints)
	compare := func(context.Context) error {
		host, virtual := w.getNodes(t)
		if diff := cmp.Diff(want, host) + cmp.Diff(seen, virtual); diff != "" {
			return fmt.Errorf("the host's, then the tenant's (-want +got):\n%s", diff)
		}
		return nil
	}
	eventually(t, "both nodes are as they should be", compare)
	for range 2 {
		w.awaitSync(t)
	}
	if err := compare(t.Context()); err != nil {
		t.Errorf("both nodes were as they should be, and changed: %v", err)
	}
}

// awaitSync waits until the tenant sees a change of the host's node that is made now.
func (w *ownedNode) awaitSync(t *testing.T) {
	t.Helper()
	stamp := strconv.FormatInt(time.Now().UnixNano(), 10)
	w.host(t, "annotate", "node", w.name, "--overwrite", stampKey+"="+stamp)
	w.in(t).await(`jsonpath={.metadata.annotations.example\.com/stamp}=`+stamp, "node/"+w.name)
}

// refusedAlways returns the cells that no setting changes.
func (w *ownedNode) refusedAlways(t *testing.T) {
	t.Helper()
	w.requireRefused(t, []string{"delete", "node", w.name}, "cannot delete")
	create := w.command("create", "-f", "-")
	create.Stdin = strings.NewReader(`{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "mine"}}`)
	if out, err := create.CombinedOutput(); err == nil || !strings.Contains(string(out), "cannot create") {
		t.Errorf("a tenant makes no node: %v, %s", err, out)
	}
	w.requireRefused(t, []string{"patch", "node", w.name, "--subresource=status", "-p", `{"status":{"capacity":{"cpu":"9999"}}}`}, "host's")
	w.requireRefused(t, []string{"patch", "node", w.name, "--subresource=status", "-p", `{"status":{"phase":"Terminated"}}`}, "host's")
	w.requireRefused(t, []string{"annotate", "node", w.name, "--overwrite", "example.com/host=mine"}, "annotation example.com/host is the host's")
	w.requireRefused(t, []string{"label", "node", w.name, "--overwrite", "kubernetes.io/arch=z80"}, "kubernetes.io/arch", "host's")
	w.requireRefused(t, []string{"label", "node", w.name, "kubernetes.io/arch-"}, "kubernetes.io/arch", "host's")
}

func (w *ownedNode) byDefault(t *testing.T) {
	_, virtual := w.getNodes(t)
	if len(virtual.Annotations) > 0 {
		t.Errorf("a tenant sees annotations of the host by default: %v", virtual.Annotations)
	}
	w.upgrade(t)
	want, virtual := w.getNodes(t)
	if diff := cmp.Diff(want.Annotations, virtual.Annotations); diff != "" {
		t.Errorf("the annotations that the operator shows (-want +got):\n%s", diff)
	}
	w.requireRefused(t, []string{"cordon", w.name}, schedulerKey, syncBackKey)
	w.requireRefused(t, []string{"drain", w.name, "--ignore-daemonsets", "--force"}, schedulerKey, syncBackKey)
	w.requireRefused(t, []string{"taint", "node", w.name, "example.com/mine=x:NoSchedule"}, schedulerKey, syncBackKey)
	w.requireRefused(t, []string{"taint", "node", w.name, "example.com/host-"}, schedulerKey, syncBackKey)
	w.requireRefused(t, []string{"label", "node", w.name, "--overwrite", "example.com/host=mine"}, "label example.com/host is the host's")
	w.requireRefused(t, []string{"label", "node", w.name, "example.com/host-"}, "label example.com/host is the host's")
	w.requireRefused(t, []string{"patch", "node", w.name, "--subresource=status", "-p", `{"status":{"capacity":{"example.com/dongle":"4"}}}`}, schedulerKey)
	w.refusedAlways(t)
	w.kubectl("label", "node", w.name, "example.com/kept=x", "feature.node.kubernetes.io/found=true")
	w.kubectl("annotate", "node", w.name, "example.com/kept=x")
	w.after(t, want, func(p *parts) {
		p.Labels["example.com/kept"], p.Labels["feature.node.kubernetes.io/found"], p.Annotations["example.com/kept"] = "x", "true", "x"
	})
	w.host(t, "cordon", w.name)
	w.await("jsonpath={.spec.unschedulable}=true", "node/"+w.name)
	w.requireRefused(t, []string{"uncordon", w.name}, "the host has cordoned")
	w.host(t, "uncordon", w.name)
}

// kept returns what byDefault has put on the node.
func kept(p *parts) {
	p.Labels["example.com/kept"], p.Labels["feature.node.kubernetes.io/found"], p.Annotations["example.com/kept"] = "x", "true", "x"
}

func (w *ownedNode) withScheduler(t *testing.T) {
	w.upgrade(t, schedulerKey+"=true")
	w.apply(webManifest)
	w.rollout("deployment/web")
	want, _ := w.getNodes(t)
	w.refusedAlways(t)
	w.requireRefused(t, []string{"taint", "node", w.name, "example.com/host-"}, "taint example.com/host:PreferNoSchedule is the host's")
	w.kubectl("taint", "node", w.name, "example.com/mine=x:PreferNoSchedule")
	w.kubectl("drain", w.name, "--ignore-daemonsets", "--force", "--timeout", patience.String())
	killServer(t, w.release)
	w.awaitReady()
	w.after(t, want, func(p *parts) {
		kept(p)
		p.Taints = append(p.Taints, "example.com/mine=x:PreferNoSchedule")
		p.Unschedulable = true
	})
	eventually(t, "both pods wait, as a drained node takes none", func(context.Context) error {
		if out := w.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].status.phase}"); out != "Pending Pending" {
			return errors.New(out)
		}
		return nil
	})
	w.host(t, "cordon", w.name)
	w.host(t, "label", "node", w.name, "--overwrite", "example.com/host=cordoned")
	w.await(`jsonpath={.metadata.labels.example\.com/host}=cordoned`, "node/"+w.name)
	w.requireRefused(t, []string{"uncordon", w.name}, "the host has cordoned")
	w.host(t, "uncordon", w.name)
	w.host(t, "label", "node", w.name, "--overwrite", "example.com/host=free")
	w.await(`jsonpath={.metadata.labels.example\.com/host}=free`, "node/"+w.name)
	if _, virtual := w.getNodes(t); !virtual.Unschedulable {
		t.Error("the tenant's own cordon must outlive the host's")
	}
	w.kubectl("uncordon", w.name)
	w.rollout("deployment/web")
	w.kubectl("patch", "node", w.name, "--subresource=status", "-p", `{"status":{"capacity":{"example.com/dongle":"1"}}}`)
	w.apply(strings.ReplaceAll(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: plugged}
spec:
  replicas: 2
  selector: {matchLabels: {app: plugged}}
  template:
    metadata: {labels: {app: plugged}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: main, image: "@IMAGE@", imagePullPolicy: IfNotPresent, command: [sleep, "100000"], resources: {limits: {RESOURCE: "1"}}}
`, "RESOURCE", "example.com/dongle"))
	w.kubectl("wait", "--for", "jsonpath={.status.readyReplicas}=1", "deployment/plugged", "--timeout", patience.String())
	w.kubectl("cordon", w.name)
	w.after(t, w.hostNow(t, want), func(p *parts) {
		kept(p)
		p.Taints = append(p.Taints, "example.com/mine=x:PreferNoSchedule")
		p.Unschedulable = true
	})
	if ready := w.kubectl("get", "deployment", "plugged", "-o", "jsonpath={.status.readyReplicas}"); ready != "1" {
		t.Errorf("one dongle is for one pod, not for %s", ready)
	}
	w.kubectl("delete", "deployment/web", "deployment/plugged", "service/web")
}

// hostNow returns want with the label that marks the host's last change.
func (w *ownedNode) hostNow(t *testing.T, want parts) parts {
	t.Helper()
	host, _ := w.getNodes(t)
	want.Labels = maps.Clone(want.Labels)
	want.Labels["example.com/host"] = host.Labels["example.com/host"]
	return want
}

func (w *ownedNode) withSyncBack(t *testing.T) {
	w.upgrade(t, syncBackKey+"=true")
	eventually(t, "the event about what the switch took away", func(context.Context) error {
		out, err := w.command("get", "events", "--field-selector", "reason=NodeChangesDropped", "-o", "name").Output()
		if err != nil || len(out) == 0 {
			return fmt.Errorf("there is none: %w", err)
		}
		return nil
	})
	want, _ := w.getNodes(t)
	w.after(t, want, kept)
	w.refusedAlways(t)

	w.requireRefused(t, []string{"taint", "node", w.name, "example.com/mine=x:NoExecute"}, "sync.fromHost.nodes.syncBackTaintEffects")
	w.requireRefused(t, []string{"label", "node", w.name, "example.com/host-"}, syncBackLabelsKey)
	w.kubectl("cordon", w.name)
	w.kubectl("taint", "node", w.name, "example.com/mine=x:PreferNoSchedule", "example.com/host-")
	w.kubectl("label", "node", w.name, "example.com/mine=x")
	w.kubectl("label", "node", w.name, "topology.example.k8s.io/x=x")
	want.Unschedulable = true
	want.Taints = []string{"example.com/mine=x:PreferNoSchedule"}
	want.Labels["example.com/mine"] = "x"
	w.after(t, want, func(p *parts) { kept(p); p.Labels["topology.example.k8s.io/x"] = "x" })

	w.kubectl("uncordon", w.name)
	w.kubectl("taint", "node", w.name, "example.com/mine-")
	w.kubectl("label", "node", w.name, "example.com/mine-", "topology.example.k8s.io/x-")
	want.Unschedulable, want.Taints = false, nil
	delete(want.Labels, "example.com/mine")
	w.after(t, want, kept)
	w.hostPolicy(t)
	w.requireRefused(t, []string{"label", "node", w.name, "example.com/forbidden=x"}, "the host cluster refused it", "no such pools")
	if host, virtual := w.getNodes(t); host.Labels["example.com/forbidden"] != "" || virtual.Labels["example.com/forbidden"] != "" {
		t.Error("what the host refuses is on neither side")
	}
}

// hostPolicy makes the host refuse one label.
func (w *ownedNode) hostPolicy(t *testing.T) {
	t.Helper()
	manifest := `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: sublet-e2e-owners}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [UPDATE], resources: [nodes]}]}
  validations: [{expression: "!('example.com/forbidden' in object.metadata.labels)", message: no such pools}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: sublet-e2e-owners}
spec: {policyName: sublet-e2e-owners, validationActions: [Deny]}
`
	apply := func(verb string) *exec.Cmd {
		cmd := hostKubectl(verb, "-f", "-")
		cmd.Stdin = strings.NewReader(manifest)
		return cmd
	}
	t.Cleanup(func() { _ = apply("delete").Run() })
	mustRun(t, apply("apply"))
	eventually(t, "the host's policy", func(context.Context) error {
		if hostKubectl("label", "node", w.name, "example.com/forbidden=x", "--dry-run=server").Run() == nil {
			return fmt.Errorf("it does not refuse yet")
		}
		return nil
	})
}

func (w *ownedNode) withBoth(t *testing.T) {
	w.upgrade(t, schedulerKey+"=true", syncBackKey+"=true", "sync.fromHost.nodes.syncBackFields={unschedulable,labels}")
	want, _ := w.getNodes(t)
	w.kubectl("cordon", w.name)
	w.kubectl("label", "node", w.name, "example.com/mine=x")
	w.kubectl("taint", "node", w.name, "example.com/mine=x:PreferNoSchedule") // Not among the fields: the tenant's own.
	want.Unschedulable = true
	want.Labels["example.com/mine"] = "x"
	w.after(t, want, func(p *parts) { kept(p); p.Taints = append(p.Taints, "example.com/mine=x:PreferNoSchedule") })
	w.kubectl("uncordon", w.name)
	want.Unschedulable = false
	w.after(t, want, func(p *parts) { kept(p); p.Taints = append(p.Taints, "example.com/mine=x:PreferNoSchedule") })
}

// offAgain returns the default after all of it: what went to the host is the host's.
func (w *ownedNode) offAgain(t *testing.T) {
	w.upgrade(t)
	want, _ := w.getNodes(t)
	w.requireRefused(t, []string{"label", "node", w.name, "example.com/mine-"}, "label example.com/mine is the host's")
	w.requireRefused(t, []string{"cordon", w.name}, schedulerKey, syncBackKey)
	w.after(t, want, kept)
}
