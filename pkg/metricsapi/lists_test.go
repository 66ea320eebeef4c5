package metricsapi

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

// heldLists is a client whose lists of pods wait until the test releases them.
type heldLists struct {
	kubernetes.Interface

	inProgress atomic.Int64
	begun      chan int64 // how many are in progress
	release    chan struct{}
}

// heldCore and heldPods are the parts of the client.
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
	h.lists.begun <- h.lists.inProgress.Add(1)
	<-h.lists.release
	h.lists.inProgress.Add(-1)
	return &corev1.PodList{}, nil
}

// TestListsAtOnce lists the usage of pods and nodes many times at once. Few lists of virtual pods are in memory.
func TestListsAtOnce(t *testing.T) {
	t.Parallel()
	w := newShop(t)
	const clients = 50
	held := &heldLists{Interface: w.pods.virtual(), begun: make(chan int64, 3*clients), release: make(chan struct{})}
	w.pods.virtual = func() kubernetes.Interface { return held }
	var all sync.WaitGroup
	for range clients {
		for _, list := range []func(context.Context) error{
			func(ctx context.Context) error { _, err := w.pods.List(ctx, nil); return err },
			func(ctx context.Context) error { _, err := w.nodes.List(ctx, nil); return err },
			func(ctx context.Context) error { _, err := w.nodes.Get(ctx, "n1", nil); return err },
		} {
			all.Go(func() {
				if err := list(genericapirequest.WithNamespace(t.Context(), "")); err != nil {
					t.Error(err)
				}
			})
		}
	}
	for i := range 3 * clients {
		if got := <-held.begun; got > maxLists {
			t.Errorf("%d lists at once, want at most %d", got, maxLists)
		}
		if i == maxLists-1 {
			ctx, leave := context.WithCancel(genericapirequest.WithNamespace(t.Context(), ""))
			leave()
			if _, err := w.pods.List(ctx, nil); err == nil {
				t.Error("a client that leaves gets a list")
			}
		}
		if i >= maxLists-1 {
			held.release <- struct{}{}
		}
	}
	close(held.release)
	all.Wait()
}
