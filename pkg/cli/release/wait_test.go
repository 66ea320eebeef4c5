package release_test

import (
	"net"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	apirelease "github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

// shop returns the release of the tests.
func shop() apirelease.Release { return apirelease.Release{Name: "shop", Namespace: "tenant"} }

// workload returns the StatefulSet with a number of ready pods.
func workload(ready int32) *appsv1.StatefulSet {
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "shop", Namespace: "tenant", Generation: 2}}
	set.Status = appsv1.StatefulSetStatus{ObservedGeneration: 2, ReadyReplicas: ready, UpdatedReplicas: ready}
	return set
}

// pod returns the pod of the control plane with a status.
func pod(status corev1.PodStatus) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "shop-0", Namespace: "tenant"}, Status: status}
}

// TestWait checks what a wait reports, and that it ends once the cluster is ready.
func TestWait(t *testing.T) {
	t.Parallel()
	meta := metav1.ObjectMeta{Name: "e", Namespace: "tenant"}
	waiting := func(reason, message string) corev1.PodStatus {
		return corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
		}}}
	}
	crashed := waiting("CrashLoopBackOff", "back-off 10s")
	crashed.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error"}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "shop-kubeconfig", Namespace: "tenant"}, Data: map[string][]byte{"config": []byte("x")}}
	for _, c := range []struct {
		reason  string
		objects []runtime.Object
		want    string // the reason, or nothing for a cluster that is ready
	}{
		{"all is there", []runtime.Object{workload(1), secret}, ""},
		{"no kubeconfig", []runtime.Object{workload(1)}, "the kubeconfig is not written yet"},
		{"no pod", []runtime.Object{workload(0)}, "pod shop-0 is not created yet"},
		{
			"a quota keeps the pod out",
			[]runtime.Object{workload(0), &corev1.Event{ObjectMeta: meta, Reason: "FailedCreate", Message: "exceeded quota"}},
			"pod shop-0 is not created: exceeded quota",
		},
		{"the image is missing", []runtime.Object{workload(0), pod(waiting("ErrImagePull", "not found"))}, "pod shop-0: ErrImagePull: not found"},
		{"the server crashes", []runtime.Object{workload(0), pod(crashed)}, "pod shop-0: CrashLoopBackOff: back-off 10s (last exit code 1 Error)"},
		{
			"no node has room",
			[]runtime.Object{workload(0), pod(corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
				{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/3 nodes are available"},
			}})},
			"pod shop-0: is not scheduled: 0/3 nodes are available",
		},
		{"it starts", []runtime.Object{workload(0), pod(corev1.PodStatus{Phase: corev1.PodRunning})}, "pod shop-0: the control plane starts"},
	} {
		var reported []string
		// A cluster that is not ready stays so: the time is only that of one look.
		err := release.Wait(t.Context(), fake.NewClientset(c.objects...), shop(), 50*time.Millisecond, func(reason string) { reported = append(reported, reason) })
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.reason, err)
			}
			continue
		}
		if diff := cmp.Diff([]string{c.want}, reported); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
		if code, hint := fault.Classify(err); code != fault.NotReady || !strings.Contains(hint, "shop-0") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: exit code %d, hint %q, %v", c.reason, code, hint, err)
		}
	}
}

// TestWaitThroughAnOutage checks that a host which does not answer for a moment does not end a wait, and is reported
// once. Each connection that is reset has another port in its error.
func TestWaitThroughAnOutage(t *testing.T) {
	t.Parallel()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "shop-kubeconfig", Namespace: "tenant"}, Data: map[string][]byte{"config": []byte("x")}}
	client, outage := fake.NewClientset(workload(1), secret), 3
	client.PrependReactor("get", "statefulsets", func(clienttesting.Action) (bool, runtime.Object, error) {
		outage--
		from := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 50000 + outage}
		return outage >= 0, nil, &url.Error{Op: "Get", URL: "https://host.example", Err: &net.OpError{Op: "read", Net: "tcp", Source: from, Err: syscall.ECONNRESET}}
	})
	var reported []string
	err := release.Wait(t.Context(), client, shop(), time.Minute, func(reason string) { reported = append(reported, reason) })
	if err != nil || len(reported) != 1 || !strings.Contains(reported[0], "connection reset") {
		t.Errorf("it reports %q, and ends with: %v", reported, err)
	}
}

// TestChart checks that the chart in this program is whole: files that start with an underscore too.
func TestChart(t *testing.T) {
	t.Parallel()
	loaded, err := release.Chart()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, file := range loaded.Templates {
		names[file.Name] = true
	}
	if loaded.Name() != "sublet" || len(loaded.Schema) == 0 || !names["templates/_helpers.tpl"] || !names["templates/statefulset.yaml"] {
		t.Errorf("chart %s has %v", loaded.Name(), names)
	}
}
