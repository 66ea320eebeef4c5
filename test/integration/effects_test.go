package integration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	subletadmission "github.com/sublet-dev/sublet/pkg/admission"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// TestEveryResourceHasAnEffect walks all resources of a real API server that can be
// created. The virtual cluster acts on the objects of each, a kind copies them to the host,
// or whoever creates one is warned or denied. A new version of Kubernetes may bring more.
func TestEveryResourceHasAnEffect(t *testing.T) {
	t.Parallel()
	creatable := creatableResources(t, newRelease(t))
	if len(creatable) < 40 {
		t.Errorf("Only %d resources can be created", len(creatable))
	}
	for name, settings := range map[string]*v1alpha1.Config{"default": v1alpha1.Default(kinds.Settings()...), "all kinds on": everyKind(true), "all kinds off": everyKind(false)} {
		outcomes := map[schema.GroupResource]policy.ResourceOutcome{}
		for _, o := range policy.Outcomes(settings) {
			outcomes[o.Resource] = o
		}
		checks := subletadmission.PolicyChecks(settings, policedView{})
		for _, resource := range slices.SortedFunc(maps.Keys(creatable), func(a, b schema.GroupResource) int { return strings.Compare(a.String(), b.String()) }) {
			o, found := outcomes[resource]
			if !found {
				t.Errorf("%s: %s can be created, and nobody knows what becomes of it: add it to policy.Effects", name, resource)
				continue
			}
			if problem := checkOutcome(o, creatable[resource], settings, checks); problem != "" {
				t.Errorf("%s: %s is %s, as %s: %s", name, resource, o.Outcome, o.Reason, problem)
			}
		}
	}
}

// everyKind returns settings with all kinds on, or all off that can be.
func everyKind(enabled bool) *v1alpha1.Config {
	all := kinds.Settings()
	for i := range all {
		all[i].Enabled = enabled
	}
	return v1alpha1.Default(all...)
}

// creatableResources returns the resources of the virtual API server that can be created,
// with the kind of each.
func creatableResources(t *testing.T, r *release) map[schema.GroupResource]schema.GroupVersionKind {
	t.Helper()
	client, err := discovery.NewDiscoveryClientForConfig(r.virtual.memory())
	if err != nil {
		t.Fatal(err)
	}
	_, lists, err := discovery.ServerGroupsAndResources(client)
	if err != nil {
		t.Fatal(err)
	}
	found := map[schema.GroupResource]schema.GroupVersionKind{}
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		if version.Group == policy.SnapshotGroup || version.Group == customGroup || version.Group == aggregatedGroup {
			continue // Other tests define their resources here.
		}
		for _, resource := range list.APIResources {
			name := schema.GroupResource{Group: version.Group, Resource: resource.Name}
			if _, seen := found[name]; !seen && !strings.Contains(resource.Name, "/") && slices.Contains(resource.Verbs, "create") {
				found[name] = version.WithKind(resource.Kind)
			}
		}
	}
	return found
}

// checkOutcome returns how an outcome differs from what the code does, empty if it does not.
func checkOutcome(o policy.ResourceOutcome, kind schema.GroupVersionKind, settings *v1alpha1.Config, checks subletadmission.Checks) string {
	switch {
	case o.Reason == "":
		return "nobody says why"
	case o.Outcome == policy.Synced && !isSynced(o, settings):
		return "no kind of that setting copies it"
	case o.Outcome == policy.Limited:
		return checkLimited(o.Resource, kind, checks)
	}
	return ""
}

// isSynced reports whether the setting of an outcome switches a kind of the resource. The
// slices of Endpoints are made from them.
func isSynced(o policy.ResourceOutcome, settings *v1alpha1.Config) bool {
	for _, row := range kinds.Table() {
		if row.Setting != o.Reason || !row.Enabled(settings.Sync) {
			continue
		}
		with, _ := row.Kinds()
		for _, kind := range with {
			gvk, err := apiutil.GVKForObject(kind.NewVirtual(), scheme.Scheme)
			if err != nil {
				return false
			}
			plural, _ := meta.UnsafeGuessKindToResource(gvk)
			if plural.GroupResource() == o.Resource || o.Resource.Resource == "endpoints" && plural.Resource == "endpointslices" {
				return true
			}
		}
	}
	return false
}

// checkLimited asks the policies about the creation of an empty object. It returns an empty
// text if they warn or deny.
func checkLimited(resource schema.GroupResource, kind schema.GroupVersionKind, checks subletadmission.Checks) string {
	check, found := checks[resource]
	if !found {
		return "no policy looks at it"
	}
	object, err := scheme.Scheme.New(kind)
	if err != nil {
		return fmt.Sprintf("no type: %v", err)
	}
	a := admission.NewAttributesRecord(object, nil, kind, "default", "one", resource.WithVersion(kind.Version), "",
		admission.Create, &metav1.CreateOptions{}, false, nil)
	got, err := check(stopping, a, nil)
	if err == nil && len(got.Warnings) == 0 && len(got.Violations) == 0 {
		return "who creates one reads nothing"
	}
	return ""
}
