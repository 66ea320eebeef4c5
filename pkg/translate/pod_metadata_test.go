package translate

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// passing returns an input that passes some keys.
func passing() PodInput {
	in := input()
	in.PassesLabel = func(key string) bool { return key == "app" || strings.HasPrefix(key, recommendedPrefix) || IsOurs(key) }
	in.PassesAnnotation = func(key string) bool { return strings.HasPrefix(key, "prometheus.io/") || IsOurs(key) }
	return in
}

// plainKeys returns the entries that are neither Sublet's nor under a host key.
func plainKeys(all map[string]string) map[string]string {
	plain := maps.Clone(all)
	maps.DeleteFunc(plain, func(key, _ string) bool { return IsOurs(key) })
	return plain
}

func TestPassedLabels(t *testing.T) {
	t.Parallel()
	type set = map[string]string
	const instance = "app.kubernetes.io/instance"
	for _, test := range []struct {
		name, reason string
		first, then  set // labels of the virtual pod, at first and then
		host         set // what the host has added in between
		want         set
	}{
		{name: "passes", reason: "tools of the host group pods by them", first: set{"app": "web", "tier": "front", instance: "web"}, then: set{"app": "web", "tier": "front", instance: "web"},
			want: set{"app": "web", instance: "web"}},
		{name: "control plane", reason: "its Services and network policies select by these labels",
			first: set{"app": "web", "app.kubernetes.io/name": "sublet", instance: "shop", "app.kubernetes.io/component": "control-plane"},
			then:  set{"app": "web", "app.kubernetes.io/name": "sublet", instance: "shop", "app.kubernetes.io/component": "control-plane"}, want: set{"app": "web"}},
		{name: "becomes the control plane", reason: "the labels that have passed go again", first: set{instance: "web", "app.kubernetes.io/name": "sublet"},
			then: set{instance: "shop", "app.kubernetes.io/name": "sublet"}, want: set{}},
		{name: "changed", reason: "labels are live", first: set{"app": "web"}, then: set{"app": "api"}, want: set{"app": "api"}},
		{name: "removed", reason: "labels are live", first: set{"app": "web"}, then: set{}, want: set{}},
		{name: "of the host", reason: "what its admission has set stays", first: set{"tier": "front"}, then: set{"app": "web"}, host: set{"app": "theirs", "mesh": "on"},
			want: set{"app": "theirs", "mesh": "on"}},
		{name: "of Sublet", reason: "no pattern passes keys of Sublet", first: set{labels.Cluster: "forged"}, then: set{labels.Namespace: "forged"}, want: set{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			virtual := webPod(func(pod *corev1.Pod) { pod.Labels = test.first })
			host := created(t, passing(), virtual)
			maps.Copy(host.Labels, test.host)
			virtual.Labels = test.then
			if err := Pod(passing(), virtual, host); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, plainKeys(host.Labels)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.reason, diff)
			}
			if host.Labels[labels.Cluster] != shop.UID || host.Labels[labels.Namespace] != virtual.Namespace {
				t.Errorf("the identity of the host pod is %v", host.Labels)
			}
			for key, value := range test.then {
				if got := host.Labels[TenantLabel(key)]; got != value {
					t.Errorf("the label %s is %q under its host key, want %q", key, got, value)
				}
			}
			if err := Pod(input(), virtual, host); err != nil {
				t.Fatal(err)
			}
			if got := plainKeys(host.Labels); !maps.Equal(got, test.host) {
				t.Errorf("labels that pass no longer: got %v, want %v", got, test.host)
			}
		})
	}
}

func TestPassedAnnotations(t *testing.T) {
	t.Parallel()
	virtual := webPod(func(pod *corev1.Pod) {
		pod.Annotations = map[string]string{"prometheus.io/scrape": "true", "note": "n", labels.Place: "forged", labels.VirtualUID: "forged"}
	})
	host := created(t, passing(), virtual)
	host.Annotations["cni.example.com/ip"] = "192.0.2.1"
	if diff := cmp.Diff(map[string]string{"prometheus.io/scrape": "true", "cni.example.com/ip": "192.0.2.1"}, plainKeys(host.Annotations)); diff != "" {
		t.Errorf("annotations of the host pod (-want +got):\n%s", diff)
	}
	if host.Annotations[labels.VirtualUID] == "forged" || host.Annotations[labels.Place] == "forged" {
		t.Errorf("the tenant has forged %v", host.Annotations)
	}
	virtual.Annotations = map[string]string{"prometheus.io/port": "8080"}
	if err := Pod(passing(), virtual, host); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"prometheus.io/port": "8080", "cni.example.com/ip": "192.0.2.1"}, plainKeys(host.Annotations)); diff != "" {
		t.Errorf("annotations are live (-want +got):\n%s", diff)
	}
}

func TestReadByHosts(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{}
	pod.Annotations = map[string]string{
		"prometheus.io/scrape": "true", "kubernetes.io/egress-bandwidth": "1M", "k8s.v1.cni.cncf.io/networks": "a", "note": "n", "kubernetes.io/psp": "p",
	}
	got := ReadByHosts(pod, func(key string) bool { return key == "prometheus.io/scrape" })
	if want := []string{"k8s.v1.cni.cncf.io/networks", "kubernetes.io/egress-bandwidth"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
