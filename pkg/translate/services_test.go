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
