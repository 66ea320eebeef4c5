package translate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

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
