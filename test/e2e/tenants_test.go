//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestTenantsNeverMeet runs equal objects in three virtual clusters, two of them
// in one host namespace.
func TestTenantsNeverMeet(t *testing.T) {
	t.Parallel()
	// In an emptyDir the store is there at once: what is left is the server's own time.
	begin := time.Now()
	first := install(t, "east", "tenant-a", "controlPlane.statefulSet.persistence.volumeClaim.enabled=false")
	figure("install_ready_emptydir", time.Since(begin).Seconds(), "s")
	tenants := []*tenant{
		first,
		install(t, "west", "tenant-a"),
		install(t, "east", "tenant-b"),
	}
	for _, tn := range tenants {
		tn.apply(webManifest)
		tn.apply(sleeper("first"))
	}
	for _, tn := range tenants {
		tn.rollout("deployment/web")
		tn.await("condition=Ready", "pod/first")
	}
	for i, tn := range tenants {
		own := strings.Fields(tn.kubectl("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}"))
		if len(own) != 2 {
			t.Errorf("tenant %d: want its own two pods, sees %q", i, own)
		}
		for range 10 {
			answer := strings.TrimSpace(tn.inPod("first", "wget -qO- http://web"))
			if !hasItem(own, answer) {
				t.Errorf("tenant %d: its Service answers from %q, which is none of its pods %q", i, answer, own)
			}
		}
	}

	tenants[0].kubectl("delete", "deployment/web", "service/web", "pod/first")
	for _, tn := range tenants[1:] {
		tn.rollout("deployment/web")
		tn.inPod("first", "wget -qO- http://web")
	}
}

func hasItem(list []string, s string) bool {
	return slices.Contains(list, s)
}

// leftovers may stay in the namespace after helm uninstall, see docs/how-to/uninstall.md.
var leftovers = map[string]bool{"configmaps/kube-root-ca.crt": true, "serviceaccounts/default": true}

// testUninstall removes the release and looks for anything of ours.
func testUninstall(t *testing.T, tn *tenant) {
	tn.endRoles()
	mustRun(t, helm("uninstall", tn.release, "-n", tn.namespace, "--wait"))
	eventually(t, "nothing is left in the namespace", func(ctx context.Context) error {
		out, err := hostKubectl("-n", tn.namespace, "get",
			"pods,services,endpointslices,configmaps,secrets,persistentvolumeclaims,serviceaccounts,statefulsets,roles,rolebindings", "-o", "name").Output()
		if err != nil {
			return err
		}
		var left []string
		for name := range strings.FieldsSeq(string(out)) {
			kind, rest, _ := strings.Cut(name, "/")
			plural, _, _ := strings.Cut(kind, ".")
			if !leftovers[plural+"s/"+rest] {
				left = append(left, name)
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("left over: %s", strings.Join(left, " "))
		}
		return nil
	})
	roles, err := hostClient.RbacV1().ClusterRoles().List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + tn.release})
	if err != nil || len(roles.Items) > 0 {
		t.Errorf("cluster roles left over: %d, %v", len(roles.Items), err)
	}
}
