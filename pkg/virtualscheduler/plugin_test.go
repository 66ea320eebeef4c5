package virtualscheduler

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// activator is a handle that counts how often a pod is to be tried again.
type activator struct {
	fwk.Handle
	count atomic.Int32
}

func (a *activator) Activate(klog.Logger, map[string]*corev1.Pod) { a.count.Add(1) }

// stage is a plugin with a cache that the test fills.
type stage struct {
	plugin  *plugin
	handle  *activator
	clock   *clocktesting.FakeClock
	store   cache.Indexer
	handler cache.ResourceEventHandler
	client  *fake.Clientset
}

func newStage(pod *corev1.Pod) *stage {
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	backoff := newNodeBackoff(clock)
	store := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	client := fake.NewClientset(pod.DeepCopy())
	s := &stage{handle: &activator{}, clock: clock, store: store, client: client}
	s.plugin = &plugin{handle: s.handle, shared: &shared{
		client: client, clock: clock, backoff: backoff, waiters: newPodWaiters(backoff), pods: corelisters.NewPodLister(store),
	}}
	s.handler = s.plugin.waiters.podHandler()
	_ = store.Add(pod)
	return s
}

// updatePod passes an event of the pod to the plugin.
func (s *stage) updatePod(pod *corev1.Pod) {
	_ = s.store.Update(pod)
	s.handler.OnUpdate(pod, pod)
}

func shopPod(change ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "1"}}
	for _, f := range change {
		f(pod)
	}
	return pod
}

func nominated(node string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.NominatedNodeName = node }
}

func unscheduled(reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message}}
	}
}

func boundTo(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }

// preBind runs PreBind for node a; the events are shown one after the other, each
// when the plugin waits.
func (s *stage) preBind(ctx context.Context, t *testing.T, events ...func()) *fwk.Status {
	t.Helper()
	return s.run(t, func() *fwk.Status { return s.plugin.PreBind(ctx, nil, shopPod(), "a") }, events...)
}

// run runs a step of the plugin and shows the events, each when it waits. It needs a bubble of
// synctest: the plugin sees only the last of two events that come at once.
func (s *stage) run(t *testing.T, step func() *fwk.Status, events ...func()) *fwk.Status {
	t.Helper()
	done := make(chan *fwk.Status, 1)
	go func() { done <- step() }()
	for _, event := range events {
		synctest.Wait()
		select {
		case status := <-done:
			t.Fatalf("it did not wait: %v", status)
		default:
		}
		event()
	}
	select {
	case status := <-done:
		return status
	case <-time.After(time.Minute):
		t.Fatal("it waits for ever")
		return nil
	}
}

func TestPreBind(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		reason string
		before *corev1.Pod
		after  []*corev1.Pod
		code   fwk.Code
		said   string
	}{
		"bound":           {"the host has bound it", shopPod(nominated("a")), []*corev1.Pod{shopPod(boundTo("a"))}, fwk.Success, ""},
		"bound before":    {"after a restart the syncer may have been faster", shopPod(boundTo("a")), nil, fwk.Success, ""},
		"bound elsewhere": {"the host's word counts", shopPod(nominated("a")), []*corev1.Pod{shopPod(boundTo("b"))}, fwk.Success, ""},
		"refused": {"the host's reason ends the attempt", shopPod(nominated("a")),
			[]*corev1.Pod{shopPod(unscheduled(corev1.PodReasonUnschedulable, "no cpu"))}, fwk.Unschedulable, "no cpu"},
		"late proposal": {"the cache may lag behind the scheduler's own write", shopPod(),
			[]*corev1.Pod{shopPod(nominated("a")), shopPod(unscheduled(corev1.PodReasonUnschedulable, "no cpu"))}, fwk.Unschedulable, "no cpu"},
		"old verdict": {"what was said of a former attempt is no answer", shopPod(unscheduled(corev1.PodReasonUnschedulable, "old")),
			[]*corev1.Pod{
				shopPod(nominated("a"), unscheduled(translate.WaitingForHost, "")),
				shopPod(unscheduled(corev1.PodReasonUnschedulable, "new")),
			}, fwk.Unschedulable, "new"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newStage(test.before)
				var events []func()
				for _, pod := range test.after {
					events = append(events, func() { s.updatePod(pod) })
				}
				status := s.preBind(t.Context(), t, events...)
				if status.Code() != test.code || status.Message() != test.said {
					t.Errorf("%s: %v %q", test.reason, status.Code(), status.Message())
				}
			})
		})
	}
}

func TestPreBindEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(shopPod(nominated("a")))
		if status := s.preBind(t.Context(), t, func() { s.handler.OnDelete(shopPod()) }); status.Code() != fwk.Error {
			t.Errorf("the pod is gone: %v", status)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		s = newStage(shopPod(nominated("a")))
		preempted := errors.New("preempted")
		if status := s.preBind(ctx, t, func() { cancel(preempted) }); !errors.Is(status.AsError(), preempted) {
			t.Errorf("preempted: %v", status)
		}
	})
}

// TestProposes checks what the plugin writes when it proposes a node.
func TestProposes(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]*corev1.Pod{
		"nominated by preemption": shopPod(nominated("a"), unscheduled(corev1.PodReasonUnschedulable, "full")),
		"refused before":          shopPod(unscheduled(corev1.PodReasonUnschedulable, "full")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if translate.Proposed(before) != "" {
				t.Fatal("it is a proposal already")
			}
			synctest.Test(t, func(t *testing.T) {
				s := newStage(before)
				s.preBind(t.Context(), t, func() {
					pod, err := s.client.CoreV1().Pods("shop").Get(t.Context(), "web", metav1.GetOptions{})
					if err != nil || translate.Proposed(pod) != "a" {
						t.Errorf("%v, the pod proposes %q", err, translate.Proposed(pod))
					}
					s.updatePod(shopPod(boundTo("a")))
				})
			})
		})
	}
}

// TestAlteredProposalsArePaced lets a policy of the tenant alter each proposal.
func TestAlteredProposalsArePaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(shopPod(nominated("a"), unscheduled("Altered", "0")))
		var writes atomic.Int32
		s.client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			altered := shopPod(nominated("a"), unscheduled("Altered", strconv.Itoa(int(writes.Add(1)))))
			if writes.Load() < 100 {
				s.updatePod(altered)
			}
			return true, altered, nil
		})
		s.preBind(t.Context(), t, func() {
			if n := writes.Load(); n != 1 {
				t.Errorf("%d proposals without a pause", n)
			}
			s.updatePod(shopPod(boundTo("a")))
		})
	})
}

// TestDeniedProposalsAreLoggedRarely lets a policy of the tenant deny every proposal.
func TestDeniedProposalsAreLoggedRarely(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStage(shopPod(nominated("a"), unscheduled("Altered", "0")))
		var writes, lines atomic.Int32
		s.client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			writes.Add(1)
			return true, nil, errors.New("denied")
		})
		var events []func()
		for range 2 * failuresPerLog {
			events = append(events, func() { s.clock.Step(proposalRetry) })
		}
		logger := funcr.New(func(string, string) { lines.Add(1) }, funcr.Options{})
		s.preBind(klog.NewContext(t.Context(), logger), t, append(events, func() { s.updatePod(shopPod(boundTo("a"))) })...)
		if writes.Load() != 2*failuresPerLog+1 || lines.Load() != 3 {
			t.Errorf("%d proposals were denied and %d logged, want %d and 3", writes.Load(), lines.Load(), 2*failuresPerLog+1)
		}
	})
}

// TestGonePodLeavesNothing deletes a pod during its attempt.
func TestGonePodLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newStage(shopPod())
	_ = s.store.Delete(shopPod())
	s.handler.OnDelete(shopPod())
	s.plugin.PostFilter(t.Context(), nil, shopPod(), nil)
	s.plugin.endAttempt(shopPod(), "a", "full")
	if b := s.plugin.backoff; len(b.pods)+len(b.noNode) > 0 {
		t.Errorf("kept: %v, %v", b.pods, b.noNode)
	}
}
