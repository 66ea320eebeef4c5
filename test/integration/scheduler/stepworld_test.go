package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
	"github.com/sublet-dev/sublet/test/await"
)

// fill leaves 2 of the 8 CPUs of a host node.
func (s *shop) fill(t *testing.T, node string) {
	t.Helper()
	filler := newPod("filler-"+node, "cpu", "6")
	filler.Spec.NodeName = node
	if _, err := s.host.Client().CoreV1().Pods(metav1.NamespaceDefault).Create(t.Context(), filler, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// free undoes what fill has done.
func (s *shop) free(t *testing.T, node string) {
	t.Helper()
	pods := s.host.Client().CoreV1().Pods(metav1.NamespaceDefault)
	err := pods.Delete(t.Context(), "filler-"+node, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
}

// cordon cordons a node on the host, or takes that back.
func (s *shop) cordon(t *testing.T, node string, on bool) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, on)
	if _, err := s.host.Client().CoreV1().Nodes().Patch(t.Context(), node, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// ours returns the host pods of the shop.
func (s *shop) ours(ctx context.Context) ([]corev1.Pod, error) {
	list, err := s.host.Client().CoreV1().Pods(s.name).List(ctx, metav1.ListOptions{LabelSelector: labels.Cluster})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// tokens returns the host Secrets of the shop's pods.
func (s *shop) tokens(ctx context.Context) ([]corev1.Secret, error) {
	list, err := s.host.Client().CoreV1().Secrets(s.name).List(ctx, metav1.ListOptions{LabelSelector: labels.Cluster})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// hostPod returns the only host pod, which must be that of the pod.
func (s *step) hostPod(ctx context.Context) (*corev1.Pod, error) {
	pods, err := s.ours(ctx)
	if err != nil {
		return nil, err
	}
	if len(pods) != 1 || types.UID(pods[0].Annotations[labels.VirtualUID]) != s.pod.UID {
		return nil, fmt.Errorf("%d host pods, or one of another virtual pod", len(pods))
	}
	return &pods[0], nil
}

// held returns the node that the host pod is pinned to.
func (s *step) held(t *testing.T) string {
	t.Helper()
	host, err := s.hostPod(t.Context())
	if err != nil || translate.PinnedNode(host) == "" {
		t.Fatalf("the host pod is held to no node: %v", err)
	}
	return translate.PinnedNode(host)
}

func (s *step) hasToken(ctx context.Context) error {
	tokens, err := s.tokens(ctx)
	if err == nil && len(tokens) != 1 {
		err = fmt.Errorf("%d Secrets", len(tokens))
	}
	return err
}

// isThere returns an error unless the host has the pod and no node for it.
func (s *step) isThere(ctx context.Context) error {
	host, err := s.hostPod(ctx)
	if err == nil && host.Spec.NodeName != "" {
		err = fmt.Errorf("it is on %s", host.Spec.NodeName)
	}
	return err
}

func (s *step) isBound(ctx context.Context) error {
	host, err := s.hostPod(ctx)
	if err == nil && host.Spec.NodeName == "" {
		err = fmt.Errorf("the host pod has no node, %v", host.Status.Conditions)
	}
	return err
}

func (s *step) isBoundUnawares(ctx context.Context) error {
	return errors.Join(s.isBound(ctx), s.isUndecided(ctx))
}

func (s *step) isRefusedUnawares(ctx context.Context) error {
	return errors.Join(s.isRefused(ctx), s.isUndecided(ctx))
}

// isUndecided returns an error if the virtual pod shows an answer of the host.
func (s *step) isUndecided(ctx context.Context) error {
	pod, err := s.get(ctx, s.name)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName != "" || refusal(pod) != "" {
		return fmt.Errorf("the virtual pod is on %q, %v", pod.Spec.NodeName, pod.Status.Conditions)
	}
	return nil
}

func (s *step) isRefused(ctx context.Context) error {
	host, err := s.hostPod(ctx)
	if err != nil {
		return err
	}
	if refusal(host) == "" {
		return fmt.Errorf("on %q, %v", host.Spec.NodeName, host.Status.Conditions)
	}
	return nil
}

// refusal returns why a scheduler finds no node for the pod, empty if none has tried.
func refusal(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonUnschedulable {
			return c.Message
		}
	}
	return ""
}

func (s *step) isGone(ctx context.Context) error {
	pods, err := s.ours(ctx)
	if err == nil && len(pods) > 0 {
		err = fmt.Errorf("%d host pods", len(pods))
	}
	return err
}

// boundPods are the host pods of a shop that have ever had a node.
type boundPods struct {
	mu    sync.Mutex
	nodes map[types.UID]string
	ended int
}

// watchBound takes down which host pods get a node, until the test ends.
func watchBound(t *testing.T, s *shop) *boundPods {
	t.Helper()
	pods, selected := s.host.Client().CoreV1().Pods(s.name), metav1.ListOptions{LabelSelector: labels.Cluster}
	before, err := pods.List(t.Context(), selected)
	if err != nil {
		t.Fatal(err)
	}
	changes := await.Changes(t, before.ResourceVersion, func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.LabelSelector = selected.LabelSelector
		return pods.Watch(ctx, o)
	})
	b := &boundPods{nodes: map[types.UID]string{}}
	go func() {
		for event := range changes {
			if pod, is := event.Object.(*corev1.Pod); is {
				b.observe(pod, event.Type == watch.Deleted)
			}
		}
	}()
	return b
}

func (b *boundPods) observe(pod *corev1.Pod, deleted bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if pod.Spec.NodeName == "" {
		return
	}
	b.nodes[pod.UID] = pod.Spec.NodeName
	if deleted {
		b.ended++
	}
}

// count returns how many had a node, once all of them are gone.
func (b *boundPods) count(t *testing.T) int {
	t.Helper()
	n := 0
	eventually(t, "the host pods that had a node have ended", func(context.Context) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if n = len(b.nodes); n == 0 || b.ended < n {
			return fmt.Errorf("%d of %d", b.ended, n)
		}
		return nil
	})
	return n
}
