package replicas

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/test/await"
)

// podPause is the time between two pods that are created.
const podPause = 100 * time.Millisecond

// podLog records the pods that a tenant creates, and their copies on the host.
type podLog struct {
	mu sync.Mutex
	// created are the virtual pods that were acknowledged.
	created []types.UID
	// copies is UID of the virtual pod -> UIDs of all host pods that it ever had.
	copies map[types.UID][]types.UID
	// names are those of the virtual pods that had a copy.
	names map[string]bool
	// running are the virtual pods whose copy runs.
	running map[types.UID]bool
}

// watchPods records all copies from now on, until the test ends.
func (w *world) watchPods(t *testing.T) *podLog {
	t.Helper()
	pods, selected := w.host.Client().CoreV1().Pods(w.release.Namespace()), metav1.ListOptions{LabelSelector: labels.Cluster}
	before, err := pods.List(t.Context(), selected)
	if err != nil {
		t.Fatal(err)
	}
	changes := await.Changes(t, before.ResourceVersion, func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.LabelSelector = selected.LabelSelector
		return pods.Watch(ctx, o)
	})
	l := &podLog{copies: map[types.UID][]types.UID{}, names: map[string]bool{}, running: map[types.UID]bool{}}
	go func() {
		for event := range changes {
			if pod, ok := event.Object.(*corev1.Pod); ok {
				l.record(pod)
			}
		}
	}()
	return l
}

func (l *podLog) record(pod *corev1.Pod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	virtual := types.UID(pod.Annotations[labels.VirtualUID])
	if !slices.Contains(l.copies[virtual], pod.UID) {
		l.copies[virtual] = append(l.copies[virtual], pod.UID)
	}
	l.names[pod.Annotations[labels.VirtualName]] = true
	if pod.Status.Phase == corev1.PodRunning {
		l.running[virtual] = true
	}
}

// acknowledged returns how many pods were acknowledged so far.
func (l *podLog) acknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.created)
}

// createPods creates pods until ctx ends. One that was not acknowledged is not asked for
// again: it may be there or not.
func (w *world) createPods(ctx context.Context, t *testing.T, l *podLog) {
	t.Helper()
	ticker := time.NewTicker(podPause)
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		pod, err := w.createPod(t.Context(), fmt.Sprintf("pod-%d", i))
		if err != nil {
			continue
		}
		l.mu.Lock()
		l.created = append(l.created, pod.UID)
		l.mu.Unlock()
	}
}

// createPod creates a pod with one request.
func (w *world) createPod(ctx context.Context, name string) (*corev1.Pod, error) {
	client := w.pick()
	if client == nil {
		return nil, errNobody
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64),
			Containers:                    []corev1.Container{{Name: "main", Image: "registry.example.com/main:1"}},
		},
	}, metav1.CreateOptions{})
}

// insistOnPod creates a pod, and asks again until the request is acknowledged.
func (w *world) insistOnPod(t *testing.T, name string) {
	t.Helper()
	eventually(t, "pod "+name+" is created", func(ctx context.Context) error {
		if _, err := w.createPod(ctx, name); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		return nil
	})
}

// check waits until each acknowledged pod runs on the host, and fails the test for each
// that ever had two copies.
func (l *podLog) check(t *testing.T) {
	t.Helper()
	eventually(t, "all pods run on the host", func(context.Context) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		missing := 0
		for _, uid := range l.created {
			if !l.running[uid] {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d do not; %d have been on the host", missing, len(l.created), len(l.copies))
		}
		return nil
	})
	l.checkCopies(t)
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%d pods were acknowledged, %d have been on the host", len(l.created), len(l.copies))
	if len(l.created) < leastPods {
		t.Errorf("fewer than %d pods were acknowledged", leastPods)
	}
}

// checkCopies fails the test for each virtual pod that ever had two copies.
func (l *podLog) checkCopies(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for virtual, copies := range l.copies {
		if len(copies) != 1 {
			t.Errorf("virtual pod %s had %d host pods", virtual, len(copies))
		}
	}
}

// hasName reports whether a virtual pod of that name ever had a copy.
func (l *podLog) hasName(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.names[name]
}

// leastPods is how many pods must be created before the check.
const leastPods = 20
