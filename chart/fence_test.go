package chart_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"helm.sh/helm/v4/pkg/chart/common"

	"github.com/sublet-dev/sublet/api/release"
)

const (
	fenceOn  = "policies: {fence: {enabled: true}}\n"
	fenceOff = "policies: {fence: {enabled: false}}\n"
	// customCopies continues the settings of sync in noClusterRights.
	customCopies = "  toHost: {customResources: {widgets.example.com: {enabled: true}}}\n"
	// syncBack lets a tenant change nodes of the host.
	syncBack = `
sync:
  fromHost:
    nodes:
      selector: {all: false, labels: {"example.com/it's": "x"}}
      syncBackChanges: true
      syncBackFields: [taints, labels]
      syncBackLabels: [example.com/team, "example.com/it's", topology.kubernetes.io/zone, sublet.dev/x, x.k8s.io/y]
`
)

func TestFenceSwitch(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	cases := map[string]struct {
		reason, version, values string
		want                    bool
	}{
		"auto":            {"the release has a ClusterRole, so its installer may write in the whole host", "v1.30.0", "", true},
		"old":             {"the host does not have the API", "v1.29.9", "", false},
		"vendor":          {"providers add to the version", "v1.31.2-eks-a1b2", "", true},
		"noClusterRights": {"the installer may be one of a namespace alone", "v1.37.0", noClusterRights, false},
		"customResources": {"definitions are read in the whole host", "v1.37.0", noClusterRights + customCopies, true},
		"on":              {"the operator knows", "v1.29.0", noClusterRights + fenceOn, true},
		"off":             {"the operator knows", "v1.37.0", fenceOff, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := common.ReleaseOptions{Name: "shop", Namespace: "tenant", Revision: 1, IsInstall: true}
			rendered, err := renderOn(ch, options, c.version, parse(t, c.values))
			if err != nil {
				t.Fatal(err)
			}
			name := release.Release{Name: "shop", Namespace: "tenant"}.Fence()
			_, policy := rendered.objects["ValidatingAdmissionPolicy/"+name]
			_, binding := rendered.objects["ValidatingAdmissionPolicyBinding/"+name]
			if policy != c.want || binding != c.want {
				t.Errorf("%s: want %v, got a policy %v and a binding %v", c.reason, c.want, policy, binding)
			}
		})
	}
}

// TestFenceOfVolumes checks that the permission to patch volumes comes with its limit.
func TestFenceOfVolumes(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	const name = "volumes.shop.tenant.sublet.dev"
	if _, ok := mustRender(t, ch, fenceOn).objects["ValidatingAdmissionPolicy/"+name]; ok {
		t.Error("a release that may not patch volumes has a limit for it")
	}
	r := mustRender(t, ch, fenceOn+"\nsync: {toHost: {persistentVolumes: {enabled: true}}}\n")
	limits := object[*admissionregistrationv1.ValidatingAdmissionPolicy](t, r, name).Spec.Validations
	if !slices.ContainsFunc(limits, func(v admissionregistrationv1.Validation) bool {
		return strings.Contains(v.Expression, "oldObject.spec.claimRef.namespace == 'tenant'")
	}) {
		t.Errorf("volumes of claims of other namespaces are not fenced: %v", limits)
	}
	if _, ok := r.objects["ValidatingAdmissionPolicyBinding/"+name]; !ok {
		t.Error("the limit has no binding")
	}
	policy := object[*admissionregistrationv1.ValidatingAdmissionPolicy](t, r, name)
	for name, c := range volumeWrites() {
		old := hostVolume()
		if c.before != nil {
			c.before(old)
		}
		changed := old.DeepCopy()
		c.change(changed)
		if got := evaluateFence(t, policy, fencedWrite{"persistentvolumes", changed, old}); (got == "") != (c.denied == "") || !strings.Contains(got, c.denied) {
			t.Errorf("%s: got %q, want %q", name, got, c.denied)
		}
	}
}

// TestFenceKnowsRole checks that the fence lets the account write every object that the
// Role names. A new Secret of the release needs both.
func TestFenceKnowsRole(t *testing.T) {
	t.Parallel()
	r := mustRender(t, loadChart(t), fenceOn)
	fence := object[*admissionregistrationv1.ValidatingAdmissionPolicy](t, r, "shop.tenant.sublet.dev")
	own := variable(t, fence, "own")
	for _, rule := range object[*rbacv1.Role](t, r, "shop").Rules {
		writes := slices.ContainsFunc(rule.Verbs, func(v string) bool { return v == "update" || v == "patch" })
		for _, name := range rule.ResourceNames {
			if writes && !strings.Contains(own, "'"+name+"'") {
				t.Errorf("the Role lets the account write %s %s, and the fence does not: %s", rule.Resources, name, own)
			}
		}
	}
}

// TestFenceOfKeys checks who may create the Secret with the keys of the encryption. The
// account may if the settings ask for it, and it never changes the Secret.
func TestFenceOfKeys(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	const clause = "variables.name == 'shop-encryption' && request.operation == 'CREATE'"
	for values, want := range map[string]bool{
		"": false,
		"controlPlane: {advanced: {encryption: {enabled: true}}}":                    true,
		"controlPlane: {advanced: {encryption: {enabled: true, keySecret: theirs}}}": false,
	} {
		fence := object[*admissionregistrationv1.ValidatingAdmissionPolicy](t, mustRender(t, ch, fenceOn+values), "shop.tenant.sublet.dev")
		own := variable(t, fence, "own")
		if strings.Contains(own, clause) != want || strings.Contains(own, "encryption") != want {
			t.Errorf("%q: want the clause %t, got %s", values, want, own)
		}
	}
}

// TestFenceOfImages checks under which names the fence knows the image of the control plane.
func TestFenceOfImages(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	const image = "controlPlane: {statefulSet: {image: {registry: %s, repository: %s}}}\n"
	hub := "['web', 'library/web', 'docker.io/web', 'docker.io/library/web', 'index.docker.io/web', 'index.docker.io/library/web']"
	for values, want := range map[string]string{
		"": "['ghcr.io/sublet-dev/sublet']",
		fmt.Sprintf(image, "registry.example.com:5000", "mirror/sublet"): "['registry.example.com:5000/mirror/sublet']",
		fmt.Sprintf(image, "docker.io", "library/web"):                   hub,
		fmt.Sprintf(image, "index.docker.io", "web"):                     hub,
	} {
		fence := object[*admissionregistrationv1.ValidatingAdmissionPolicy](t, mustRender(t, ch, fenceOn+values), "shop.tenant.sublet.dev")
		if !slices.ContainsFunc(fence.Spec.Validations, func(v admissionregistrationv1.Validation) bool { return strings.Contains(v.Expression, want) }) {
			t.Errorf("%q: no validation has %s", values, want)
		}
	}
}

// TestNodeFence checks the lists in the fence of nodes. Keys of labels may have quotes only
// if somebody tries to write an expression.
func TestNodeFence(t *testing.T) {
	t.Parallel()
	ch := loadChart(t)
	values := parse(t, strings.ReplaceAll(syncBack, "it's", "pool"))
	rendered, err := render(ch, values)
	if err != nil {
		t.Fatal(err)
	}
	fence := object[*admissionregistrationv1.ValidatingAdmissionPolicy](t, rendered, "nodes.shop.tenant.sublet.dev")
	if got := variable(t, fence, "labels"); got != "['example.com/team']" {
		t.Errorf("labels: %s", got)
	}
	if got := variable(t, fence, "effects"); got != "['NoSchedule', 'PreferNoSchedule']" {
		t.Errorf("effects: %s", got)
	}
	for name, c := range nodeWrites() {
		old := hostNode()
		changed := old.DeepCopy()
		c.change(changed)
		if got := evaluateFence(t, fence, fencedWrite{"nodes", changed, old}); (got == "") != (c.denied == "") || !strings.Contains(got, c.denied) {
			t.Errorf("%s: got %q, want %q", name, got, c.denied)
		}
	}
	if _, err := render(ch, parse(t, syncBack)); err == nil {
		t.Error("a key with a quote must be refused before it is a part of an expression")
	}
	without := mustRender(t, ch, "")
	if _, ok := without.objects["ValidatingAdmissionPolicy/nodes.shop.tenant.sublet.dev"]; ok {
		t.Error("the account may not write nodes, and needs no fence for it")
	}
}

// variable returns the expression of a variable of a policy.
func variable(t *testing.T, policy *admissionregistrationv1.ValidatingAdmissionPolicy, name string) string {
	t.Helper()
	for _, v := range policy.Spec.Variables {
		if v.Name == name {
			return v.Expression
		}
	}
	t.Fatalf("the policy has no variable %s", name)
	return ""
}

// TestFenceOfOwners checks that the account cannot have the garbage collector delete nodes and volumes.
func TestFenceOfOwners(t *testing.T) {
	t.Parallel()
	r := mustRender(t, loadChart(t), fenceOn+strings.ReplaceAll(syncBack, "it's", "pool")+"  toHost: {persistentVolumes: {enabled: true}}\n")
	for _, name := range []string{"nodes.shop.tenant.sublet.dev", "volumes.shop.tenant.sublet.dev"} {
		policy := object[*admissionregistrationv1.ValidatingAdmissionPolicy](t, r, name)
		if !slices.ContainsFunc(policy.Spec.Validations, func(v admissionregistrationv1.Validation) bool {
			return strings.Contains(v.Expression, "oldObject.metadata.ownerReferences")
		}) {
			t.Errorf("%s does not look at owners", name)
		}
	}
}
