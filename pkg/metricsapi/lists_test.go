package metricsapi

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned/typed/metrics/v1beta1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/recent"
)

// heldLists is a client whose lists of pods wait until the test releases them.
type heldLists struct {
	kubernetes.Interface

	inProgress atomic.Int64
	release    chan struct{}
}

// heldCore and heldPods are parts of the client.
type (
	heldCore struct {
		corev1client.CoreV1Interface
		lists *heldLists
	}
	heldPods struct {
		corev1client.PodInterface
		lists *heldLists
	}
)

// CoreV1 implements kubernetes.Interface.
func (h *heldLists) CoreV1() corev1client.CoreV1Interface { return heldCore{h.Interface.CoreV1(), h} }

// Pods implements corev1client.PodsGetter.
func (h heldCore) Pods(namespace string) corev1client.PodInterface {
	return heldPods{h.CoreV1Interface.Pods(namespace), h.lists}
}

// List implements corev1client.PodInterface.
func (h heldPods) List(context.Context, metav1.ListOptions) (*corev1.PodList, error) {
	h.lists.inProgress.Add(1)
	defer h.lists.inProgress.Add(-1)
	<-h.lists.release
	return &corev1.PodList{}, nil
}

// noUsageOfHost is a metrics API of a host that has measured nothing.
type noUsageOfHost struct {
	metricsclient.PodMetricsInterface
}

// List implements metricsclient.PodMetricsInterface.
func (noUsageOfHost) List(context.Context, metav1.ListOptions) (*v1beta1.PodMetricsList, error) {
	return &v1beta1.PodMetricsList{}, nil
}

// TestListsAtOnce lists the usage of pods and nodes many times at once. Few lists of virtual pods are in memory.
func TestListsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := clocktesting.NewFakeClock(time.Unix(0, 0))
		held := &heldLists{Interface: fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}), release: make(chan struct{})}
		r := &reader{
			cluster: shop(), virtual: func() kubernetes.Interface { return held }, lists: make(chan struct{}, maxLists),
			usage: &hostUsage{client: noUsageOfHost{}, clock: clock, recent: recent.NewAnswers[allPods, *usageByPod](keepUsage, clock)},
		}
		pods, nodes := podStorage{r}, nodeStorage{r}
		ctx, leave := context.WithCancel(genericapirequest.WithNamespace(t.Context(), ""))
		var all sync.WaitGroup
		begin := func(ctx context.Context, times int) {
			for range times {
				all.Go(func() { _, _ = pods.List(ctx, nil) })
				all.Go(func() { _, _ = nodes.List(ctx, nil) })
				all.Go(func() { _, _ = nodes.Get(ctx, "n1", nil) })
			}
			synctest.Wait()
		}
		const patient = 10
		begin(context.WithoutCancel(ctx), patient)
		begin(ctx, 50)
		leave() // The others stay.
		for left := 3 * patient; left > 0; left-- {
			synctest.Wait()
			if got := held.inProgress.Load(); got != int64(min(left, maxLists)) {
				t.Errorf("%d lists at once while %d requests are left, want %d", got, left, min(left, maxLists))
			}
			held.release <- struct{}{}
		}
		all.Wait()
	})
}
