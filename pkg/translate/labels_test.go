package translate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/sublet-dev/sublet/api/labels"
)

// labelKey draws keys that are hard to rename: with and without a prefix, and with
// characters that a renaming might replace.
func labelKey() *rapid.Generator[string] {
	return rapid.StringMatching(`([a-z0-9]{1,30}(\.[a-z0-9]{1,30}){0,3}/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,60}[A-Za-z0-9])?`)
}

func TestTenantLabel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfNDistinct(labelKey(), 2, 8, rapid.ID).Draw(t, "keys")
		seen := map[string]string{}
		for _, key := range keys {
			host := TenantLabel(key)
			if problems := validation.IsQualifiedName(host); len(problems) > 0 {
				t.Errorf("TenantLabel(%q) = %q: %v", key, host, problems)
			}
			if !strings.HasPrefix(host, labels.TenantPrefix) {
				t.Errorf("TenantLabel(%q) = %q, want prefix %q", key, host, labels.TenantPrefix)
			}
			if other, taken := seen[host]; taken {
				t.Errorf("%q and %q both become %q", key, other, host)
			}
			seen[host] = key
		}
	})
}

func TestTenantLabelIsReadableAndStable(t *testing.T) {
	t.Parallel()
	// Another key after an upgrade would unselect every running pod.
	want := map[string]string{
		"app":                       labels.TenantPrefix + "app-gi3ccynaupraxatv",
		"app.kubernetes.io/name":    labels.TenantPrefix + "app.kubernetes.io_name-",
		"app.kubernetes.io_name":    labels.TenantPrefix + "app.kubernetes.io_name-",
		strings.Repeat("long", 15):  labels.TenantPrefix + strings.Repeat("long", 9) + "-",
		"_odd":                      labels.TenantPrefix + "odd-",
		"/":                         labels.TenantPrefix,
		labels.TenantPrefix + "app": labels.TenantPrefix + "t.sublet.dev_app-",
	}
	for key, prefix := range want {
		if got := TenantLabel(key); !strings.HasPrefix(got, prefix) {
			t.Errorf("TenantLabel(%q) = %q, want it to begin with %q", key, got, prefix)
		}
	}
}

func TestSyncLabels(t *testing.T) {
	t.Parallel()
	own := map[string]string{labels.Cluster: shop.UID, labels.Namespace: "default"}
	tests := map[string]struct {
		reason        string
		host, virtual map[string]string
		want          map[string]string
	}{
		"New": {
			reason:  "every label of the tenant is renamed",
			host:    own,
			virtual: map[string]string{"app": "web"},
			want:    mergeMaps(own, map[string]string{TenantLabel("app"): "web"}),
		},
		"Stale": {
			reason:  "a label that the tenant removed or changed does not stay",
			host:    mergeMaps(own, map[string]string{TenantLabel("app"): "web", TenantLabel("tier"): "front"}),
			virtual: map[string]string{"app": "api"},
			want:    mergeMaps(own, map[string]string{TenantLabel("app"): "api"}),
		},
		"Foreign": {
			reason:  "labels that the host's own tools set are theirs",
			host:    mergeMaps(own, map[string]string{"mesh": "on"}),
			virtual: nil,
			want:    mergeMaps(own, map[string]string{"mesh": "on"}),
		},
		"Disguised": {
			reason:  "a tenant cannot set our keys, nor those of the host",
			host:    own,
			virtual: map[string]string{labels.Cluster: "forged", "mesh": "off"},
			want:    mergeMaps(own, map[string]string{TenantLabel(labels.Cluster): "forged", TenantLabel("mesh"): "off"}),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := SyncLabels(tt.host, tt.virtual)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
			}
			if diff := cmp.Diff(got, SyncLabels(got, tt.virtual)); diff != "" {
				t.Errorf("a second time changes it again (-once +twice):\n%s", diff)
			}
		})
	}
}

// labelSet draws labels from a small world, so that selectors hit and miss.
func labelSet() *rapid.Generator[map[string]string] {
	key := rapid.SampledFrom([]string{"app", "tier", "x/app", labels.Cluster, labels.Namespace})
	return rapid.MapOf(key, rapid.SampledFrom([]string{"", "a", "b", shop.UID}))
}

func selectorOf(t *rapid.T) *metav1.LabelSelector {
	requirement := rapid.Custom(func(t *rapid.T) metav1.LabelSelectorRequirement {
		r := metav1.LabelSelectorRequirement{
			Key: rapid.SampledFrom([]string{"app", "tier", "x/app", labels.Namespace}).Draw(t, "key"),
			Operator: rapid.SampledFrom([]metav1.LabelSelectorOperator{
				metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist,
			}).Draw(t, "operator"),
		}
		if r.Operator == metav1.LabelSelectorOpIn || r.Operator == metav1.LabelSelectorOpNotIn {
			r.Values = rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "b"}), 1, 2).Draw(t, "values")
		}
		return r
	})
	return &metav1.LabelSelector{
		MatchLabels:      labelSet().Draw(t, "matchLabels"),
		MatchExpressions: rapid.SliceOfN(requirement, 0, 3).Draw(t, "matchExpressions"),
	}
}

func matches(t *rapid.T, selector *metav1.LabelSelector, set map[string]string) bool {
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatalf("selector %v: %v", selector, err)
	}
	return s.Matches(apilabels.Set(set))
}

func TestSelectorSelectsTheSame(t *testing.T) {
	t.Parallel()
	all := []string{"default", "shop", "db"}
	rapid.Check(t, func(t *rapid.T) {
		selector, pod := selectorOf(t), labelSet().Draw(t, "pod")
		namespace := rapid.SampledFrom(all).Draw(t, "namespace")
		namespaces := rapid.SliceOfN(rapid.SampledFrom(all), 0, 3).Draw(t, "namespaces")
		inside := false
		for _, n := range namespaces {
			inside = inside || n == namespace
		}
		if rapid.Bool().Draw(t, "everywhere") {
			namespaces, inside = nil, true
		} else if namespaces == nil {
			namespaces = []string{}
		}

		host := newHostLabels(shop, namespace, pod)
		want := inside && matches(t, selector, pod)
		if got := matches(t, toHostSelector(shop, namespaces, selector), host); got != want {
			t.Errorf("the virtual selector in %v selects %v in %s: %t, the host's: %t", namespaces, pod, namespace, want, got)
		}
		host[labels.Cluster] = "another"
		if matches(t, toHostSelector(shop, namespaces, selector), host) {
			t.Errorf("the host's selector selects a pod of another virtual cluster")
		}
	})
}

func TestSelectorOfNothing(t *testing.T) {
	t.Parallel()
	if got := toHostSelector(shop, nil, nil); got != nil {
		t.Errorf("toHostSelector(nil) = %v, want nil, which selects nothing", got)
	}
}

func TestServiceSelector(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		selector, pod := labelSet().Draw(t, "selector"), labelSet().Draw(t, "pod")
		if len(selector) == 0 {
			return
		}
		host := ServiceSelector(shop, "default", selector)
		want := apilabels.SelectorFromSet(selector).Matches(apilabels.Set(pod))
		if got := apilabels.SelectorFromSet(host).Matches(apilabels.Set(newHostLabels(shop, "default", pod))); got != want {
			t.Errorf("virtual Service selects %v: %t, host Service: %t", pod, want, got)
		}
		if apilabels.SelectorFromSet(host).Matches(apilabels.Set(newHostLabels(shop, "other", pod))) {
			t.Errorf("host Service selects a pod of another virtual namespace")
		}
	})
}
