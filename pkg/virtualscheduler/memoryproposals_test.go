package virtualscheduler

import (
	"slices"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// newMemoryStage returns a stage whose plugin proposes in memory, and the pods that
// the syncer has heard of.
func newMemoryStage(pod *corev1.Pod) (*stage, *[]types.NamespacedName) {
	s := newStage(pod)
	var told []types.NamespacedName
	s.plugin.memory = newMemoryProposals(func(pod types.NamespacedName) { told = append(told, pod) })
	return s, &told
}

func TestCanProposeInMemory(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		reason string
		pod    *corev1.Pod
		want   bool
	}{
		"new":       {"most pods are", shopPod(), true},
		"asked for": {"what is written must be taken back there", shopPod(nominated("b")), false},
		"refused":   {"the answer could not be told from the old one", shopPod(unscheduled(corev1.PodReasonUnschedulable, "full")), false},
		"claim": {"the claim waits for the host pod, and binding for the claim", shopPod(func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}}}
		}), false},
		"ephemeral claim": {"that is a claim too", shopPod(func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}}}
		}), false},
		"config": {"other volumes wait for nothing", shopPod(func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		}), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := newMemoryStage(test.pod)
			_, status := s.plugin.PreBindPreFlight(t.Context(), nil, test.pod, "a")
			if got := status.IsSkip(); got != test.want {
				t.Errorf("%s: handed over = %t", test.reason, got)
			}
		})
	}
	late, _ := newMemoryStage(shopPod())
	if _, status := late.plugin.PostFilter(t.Context(), nil, shopPod(), nil); !status.IsRejected() {
		t.Errorf("a node was made to fit: %v", status)
	}
	if _, status := late.plugin.PreBindPreFlight(t.Context(), nil, shopPod(), "a"); status.IsSkip() {
		t.Error("no node was found for the pod before, and the cache may not show the reason yet")
	}
	late.handler.OnUpdate(shopPod(), shopPod(boundTo("a")))
	if late.plugin.backoff.hasFailed("1") {
		t.Error("a pod that is bound is remembered")
	}
	s := newStage(shopPod())
	if _, status := s.plugin.PreBindPreFlight(t.Context(), nil, shopPod(), "a"); status.IsSkip() {
		t.Error("nobody is there who could be told")
	}
}

// runBind runs Bind for node a as the scheduler does after PreBind was skipped, or not.
func (s *stage) runBind(t *testing.T, skipped bool, events ...func()) *fwk.Status {
	t.Helper()
	state := framework.NewCycleState()
	if skipped {
		state.SetSkipPreBindPlugins(sets.New(pluginName))
	}
	return s.run(t, func() *fwk.Status { return s.plugin.Bind(t.Context(), state, shopPod(), "a") }, events...)
}

func TestBindProposesInMemory(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		reason string
		after  *corev1.Pod
		code   fwk.Code
		said   string
	}{
		"bound":   {"the host has bound it", shopPod(boundTo("a")), fwk.Success, ""},
		"refused": {"the host's reason ends the attempt", shopPod(unscheduled(corev1.PodReasonUnschedulable, "no cpu")), fwk.Unschedulable, "no cpu"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, told := newMemoryStage(shopPod())
				during := ""
				status := s.runBind(t, true, func() {
					during = s.plugin.memory.proposed("1")
					s.updatePod(test.after)
				})
				if status.Code() != test.code || status.Message() != test.said {
					t.Errorf("%s: %v %q", test.reason, status.Code(), status.Message())
				}
				if want := []types.NamespacedName{{Namespace: "shop", Name: "web"}}; !slices.Equal(*told, want) || during != "a" {
					t.Errorf("told of %v for %q, want %v for a", *told, during, want)
				}
				if left := s.plugin.memory.proposed("1"); left != "" {
					t.Errorf("the pod still has %s in mind", left)
				}
				for _, action := range s.client.Actions() {
					t.Errorf("a request: %v", action)
				}
			})
		})
	}
}

func TestBindAfterPreBind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, told := newMemoryStage(shopPod())
		if status := s.runBind(t, false); !status.IsSuccess() || len(*told) > 0 {
			t.Errorf("the pod is bound already: %v, told of %v", status, *told)
		}
	})
}

// TestProposalIsWrittenWhenTheHostIsSlow checks that the tenant sees what the pod waits
// for when the host takes long.
func TestProposalIsWrittenWhenTheHostIsSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := newMemoryStage(shopPod())
		status := s.runBind(t, true, func() {
			s.clock.Step(memoryLag)
			synctest.Wait()
			pod, err := s.client.CoreV1().Pods("shop").Get(t.Context(), "web", metav1.GetOptions{})
			if err != nil || translate.Proposed(pod) != "a" {
				t.Errorf("%v, the pod proposes %q", err, translate.Proposed(pod))
			}
			s.updatePod(pod)
		}, func() { s.updatePod(shopPod(unscheduled(corev1.PodReasonUnschedulable, "no cpu"))) })
		if status.Code() != fwk.Unschedulable || status.Message() != "no cpu" {
			t.Errorf("%v %q", status.Code(), status.Message())
		}
	})
}
