package podgc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"
)

// pod returns a pod that is that many minutes old.
func pod(name string, minutes int, phase corev1.PodPhase, edits ...func(*corev1.Pod)) *corev1.Pod {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "web", Name: name, UID: types.UID("uid-of-" + name),
			CreationTimestamp: metav1.NewTime(start.Add(-time.Duration(minutes) * time.Minute)),
		},
		Status: corev1.PodStatus{Phase: phase},
	}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

func newCollector(t *testing.T, keep int, pods ...*corev1.Pod) (*Collector, *fake.Clientset) {
	t.Helper()
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	var objects []runtime.Object
	for _, p := range pods {
		if err := indexer.Add(p); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, p)
	}
	client := fake.NewClientset(objects...)
	return &Collector{
		Client: client, Pods: corelisters.NewPodLister(indexer), Keep: keep,
		Clock: clocktesting.NewFakeClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)),
	}, client
}

func names(t *testing.T, client *fake.Clientset) []string {
	t.Helper()
	list, err := client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range list.Items {
		all = append(all, p.Name)
	}
	slices.Sort(all)
	return all
}

func TestCollect(t *testing.T) {
	t.Parallel()
	terminating := func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Now()) }
	all := []*corev1.Pod{
		pod("done-old", 30, corev1.PodSucceeded), pod("failed-older", 40, corev1.PodFailed), pod("done-new", 10, corev1.PodSucceeded),
		pod("running", 60, corev1.PodRunning), pod("going", 50, corev1.PodSucceeded, terminating),
	}
	for _, c := range []struct {
		reason string
		keep   int
		want   []string
	}{
		{"0 keeps all", 0, []string{"done-new", "done-old", "failed-older", "going", "running"}},
		{"fewer than are kept", 5, []string{"done-new", "done-old", "failed-older", "going", "running"}},
		{"the oldest finished pods go, running and terminating ones stay", 1, []string{"done-new", "going", "running"}},
	} {
		collector, client := newCollector(t, c.keep, all...)
		if err := collector.collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, names(t, client)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}

// TestCollectDenied denies the delete of the oldest pod. The next oldest is deleted, and the error names the first.
func TestCollectDenied(t *testing.T) {
	t.Parallel()
	collector, client := newCollector(t, 1, pod("kept", 40, corev1.PodSucceeded), pod("old", 30, corev1.PodFailed), pod("new", 10, corev1.PodSucceeded))
	client.PrependReactor("delete", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if name := action.(clienttesting.DeleteAction).GetName(); name == "kept" {
			return true, nil, apierrors.NewForbidden(corev1.Resource("pods"), name, errors.New("denied by a policy"))
		}
		return false, nil, nil
	})
	if err := collector.collect(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot delete finished pod web/kept: ") {
		t.Errorf("got error %v, want that of the pod kept", err)
	}
	if diff := cmp.Diff([]string{"kept", "new"}, names(t, client)); diff != "" {
		t.Errorf("pods that are left (-want +got):\n%s", diff)
	}
}

// TestRun lets a collector work off a flood by the clock.
func TestRun(t *testing.T) {
	t.Parallel()
	var pods []*corev1.Pod
	for i := range 50 {
		pods = append(pods, pod(fmt.Sprintf("done-%02d", i), i, corev1.PodSucceeded))
	}
	collector, client := newCollector(t, 10, pods...)
	clock := collector.Clock.(*clocktesting.FakeClock)
	done := make(chan error, 1)
	go func() { done <- collector.Run(t.Context()) }()
	deadline := time.After(time.Minute)
	for len(names(t, client)) > 10 {
		clock.Step(period)
		select {
		case err := <-done:
			t.Fatalf("the collector ended: %v", err)
		case <-deadline:
			t.Fatalf("%d pods are left", len(names(t, client)))
		case <-time.Tick(time.Millisecond):
		}
	}
}
