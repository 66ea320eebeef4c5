package translate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"

	"github.com/sublet-dev/sublet/api/labels"
)

func TestSyncServiceLabels(t *testing.T) {
	t.Parallel()
	type set = map[string]string
	tenant := set{serviceProxyName: "mine", corev1.IsHeadlessService: "", "app": "web", "kubernetes.io/cluster-service": "true"}
	host := SyncServiceLabels(set{labels.Cluster: "c", "operators": "o"}, tenant)
	want := set{serviceProxyName: "mine", corev1.IsHeadlessService: "", "operators": "o"}
	if diff := cmp.Diff(want, plainKeys(host)); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(set{"operators": "o"}, plainKeys(SyncServiceLabels(host, set{"app": "web"}))); diff != "" {
		t.Errorf("the tenant has removed them (-want +got):\n%s", diff)
	}
	theirs := set{serviceProxyName: "host"}
	if diff := cmp.Diff(theirs, plainKeys(SyncServiceLabels(theirs, nil))); diff != "" {
		t.Errorf("a label of the host stays (-want +got):\n%s", diff)
	}
}

// TestCopyNodePorts compares which node ports stay with those that an update frees.
func TestCopyNodePorts(t *testing.T) {
	t.Parallel()
	port := func(number, node int32) corev1.ServicePort {
		return corev1.ServicePort{Port: number, Protocol: corev1.ProtocolTCP, NodePort: node}
	}
	for name, tc := range map[string]struct {
		spec corev1.ServiceSpec
		want []int32
	}{
		"Kept": {corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{port(80, 0)}}, []int32{30001}},
		"Freed": {corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, AllocateLoadBalancerNodePorts: new(false), Ports: []corev1.ServicePort{port(80, 0)},
		}, []int32{0}},
		"Moved": {corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{port(80, 0), port(81, 30001)}}, []int32{0, 30001}},
	} {
		CopyNodePorts([]corev1.ServicePort{port(80, 30001)}, &tc.spec)
		for i, want := range tc.want {
			if got := tc.spec.Ports[i].NodePort; got != want {
				t.Errorf("%s: port %d has %d, want %d", name, i, got, want)
			}
		}
	}
}

// TestServiceWithoutSelector checks that a Service without a selector selects no pod of the host.
func TestServiceWithoutSelector(t *testing.T) {
	t.Parallel()
	c := Cluster{UID: "uid"}
	pods := []map[string]string{newHostLabels(c, "shop", nil), newHostLabels(c, "shop", map[string]string{"app": "web"}), {labels.Cluster: "uid"}, nil}
	for _, tenant := range []map[string]string{nil, {}} {
		selector := ServiceSelector(c, "shop", tenant)
		if selector[labels.Cluster] != "uid" {
			t.Errorf("the selector %v is not limited to the cluster", selector)
		}
		for _, pod := range pods {
			if apilabels.SelectorFromSet(selector).Matches(apilabels.Set(pod)) {
				t.Errorf("the selector %v matches a pod with %v", selector, pod)
			}
		}
	}
	if !apilabels.SelectorFromSet(ServiceSelector(c, "shop", map[string]string{"app": "web"})).Matches(apilabels.Set(pods[1])) {
		t.Error("a selector does not match its pod")
	}
}

// TestCopyFamilies checks whose IP families a virtual Service gets.
func TestCopyFamilies(t *testing.T) {
	t.Parallel()
	single := corev1.IPFamilyPolicySingleStack
	selector := map[string]string{"app": "web"}
	for name, tc := range map[string]struct {
		reason        string
		clusterIP     string
		virtual, from map[string]string // selectors
		copied        bool
	}{
		"Selector":     {reason: "the host assigns them", clusterIP: corev1.ClusterIPNone, virtual: selector, from: selector, copied: true},
		"Address":      {reason: "an address has the family of the host", clusterIP: "10.96.3.4", from: selector, copied: true},
		"HeadlessBare": {reason: "the API gives such a Service two, and its copy has one", clusterIP: corev1.ClusterIPNone, from: selector},
		"Stored":       {reason: "an update leaves them out", clusterIP: corev1.ClusterIPNone, copied: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: tc.clusterIP, Selector: tc.virtual}}
			CopyAssigned(&corev1.Service{Spec: corev1.ServiceSpec{
				ClusterIP: tc.clusterIP, Selector: tc.from, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, IPFamilyPolicy: &single,
			}}, virtual)
			if copied := virtual.Spec.IPFamilyPolicy != nil && len(virtual.Spec.IPFamilies) == 1; copied != tc.copied {
				t.Errorf("%s: families %v, policy %v", tc.reason, virtual.Spec.IPFamilies, virtual.Spec.IPFamilyPolicy)
			}
		})
	}
}
