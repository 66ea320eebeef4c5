package syncer

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

func TestVirtualOwned(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason        string
		kind          Kind
		virtual, host client.Object
		held          string
		known         time.Duration // for which the engine has seen this state
		lateVirtual   bool          // the cache shows nothing yet
		lateHost      bool
		want          reconciled
	}{
		"Create": {
			reason: "A wanted object without a copy gets one, in one request.",
			kind:   configMaps(), virtual: virtualMap(),
			want: reconciled{host: []string{"create"}},
		},
		"Unwanted": {
			reason: "An object that the kind does not want gets no copy.",
			kind:   configMaps(), virtual: virtualMap(func(m *corev1.ConfigMap) { m.Labels = map[string]string{"private": "yes"} }),
		},
		"NoLongerWanted": {
			reason: "The copy of an object that is no longer wanted goes.",
			kind:   configMaps(), virtual: virtualMap(func(m *corev1.ConfigMap) { m.Labels = map[string]string{"private": "yes"} }), host: hostMap("v1"),
			want: reconciled{host: []string{"delete"}},
		},
		"Equal": {
			reason: "Nothing is written when both sides agree.",
			kind:   configMaps(), virtual: virtualMap(), host: hostMap("v1"),
		},
		"Drift": {
			reason: "A change that somebody made to the copy is undone.",
			kind:   configMaps(), virtual: virtualMap(), host: hostMap("v1", func(m *corev1.ConfigMap) { m.Data["k"] = "x" }),
			want: reconciled{host: []string{"patch"}},
		},
		"BothWays": {
			reason: "What goes up and what goes down is written in one reconcile.",
			kind:   configMaps(), virtual: virtualMap(), host: hostMap("v1", func(m *corev1.ConfigMap) { m.Data["k"] = "x"; m.Annotations["seen"] = "1" }),
			want: reconciled{host: []string{"patch"}, virtual: []string{"update"}},
		},
		"Orphan": {
			reason: "A copy whose object is gone is deleted.",
			kind:   configMaps(), host: hostMap("v1"),
			want: reconciled{host: []string{"delete"}},
		},
		"OrphanHeld": {
			reason: "No copy is deleted while the guard holds deletes back.",
			kind:   configMaps(), host: hostMap("v1"), held: "restored",
			want: reconciled{err: true},
		},
		"PendingYoung": {
			reason: "A copy made at admission waits for its object.",
			kind:   configMaps(), host: hostMap(labels.Pending, func(m *corev1.ConfigMap) { m.CreationTimestamp = metav1.NewTime(testStart().Add(-time.Second)) }),
			want: reconciled{again: pendingLife + time.Second},
		},
		"PendingOld": {
			reason: "A copy made at admission goes when its object never came.",
			kind:   configMaps(), known: pendingLife, host: hostMap(labels.Pending, func(m *corev1.ConfigMap) { m.CreationTimestamp = metav1.NewTime(testStart().Add(-time.Hour)) }),
			want: reconciled{host: []string{"delete"}},
		},
		"PendingHostClockBehind": {
			reason: "The age of a pending copy counts from when it was seen, whatever the host's clock shows.",
			kind:   configMaps(), host: hostMap(labels.Pending, func(m *corev1.ConfigMap) { m.CreationTimestamp = metav1.NewTime(testStart().Add(-time.Hour)) }),
			want: reconciled{again: pendingLife + time.Second},
		},
		"PendingAdopted": {
			reason: "A copy made at admission gets the UID of its object when that exists.",
			kind:   configMaps(), virtual: virtualMap(), host: hostMap(labels.Pending),
			want: reconciled{host: []string{"patch"}},
		},
		"Recreated": {
			reason: "The copy of an older object of the name goes before the new one gets its own.",
			kind:   configMaps(), virtual: virtualMap(), host: hostMap("v0"),
			want: reconciled{host: []string{"delete"}},
		},
		"Foreign": {
			reason: "An object that is not ours is left alone although it carries our label, and the tenant is told.",
			kind:   configMaps(), virtual: virtualMap(), host: hostMap("v1", func(m *corev1.ConfigMap) { m.Annotations[labels.VirtualName] = "other" }),
			want: reconciled{virtual: []string{"create"}, err: true},
		},
		"ForeignUnlabelled": {
			reason: "An object that the watch does not show is found by the create and left alone, and the tenant is told.",
			kind:   configMaps(), virtual: virtualMap(), host: hostMap("v1", func(m *corev1.ConfigMap) { m.Labels = nil }),
			want: reconciled{host: []string{"create"}, virtual: []string{"create"}, err: true},
		},
		"Finalizer": {
			reason: "An object of a kind that does not end with its copy keeps the copy as long as finalizers keep it.",
			kind:   configMaps(), virtual: virtualMap(func(m *corev1.ConfigMap) {
				now := metav1.NewTime(testStart())
				m.DeletionTimestamp, m.Finalizers = &now, []string{"x/y"}
			}), host: hostMap("v1"),
		},
		"PodDeleted": {
			reason: "The deletion of a pod goes down.",
			kind:   pods(), virtual: virtualPod(withGrace(5)), host: hostPod(),
			want: reconciled{host: []string{"delete"}},
		},
		"PodEnding": {
			reason: "A pod whose copy ends already is waited for.",
			kind:   pods(), virtual: virtualPod(withGrace(5)), host: hostPod(withGrace(5)),
		},
		"PodHurried": {
			reason: "A grace period that a tenant shortens is shortened on the host.",
			kind:   pods(), virtual: virtualPod(withGrace(1)), host: hostPod(withGrace(30)),
			want: reconciled{host: []string{"delete"}},
		},
		"PodEnded": {
			reason: "A deleted pod whose copy has ended is gone.",
			kind:   pods(), virtual: virtualPod(withGrace(5)),
			want: reconciled{virtual: []string{"delete"}},
		},
		"PodEndedFinalizer": {
			reason: "A deleted pod that only finalizers keep gets its final phase, as controllers wait for that.",
			kind:   pods(), virtual: virtualPod(withGrace(0), withFinalizer),
			want: reconciled{virtual: []string{"update status"}},
		},
		"PodEndedFinalizerFinal": {
			reason: "Once it has a final phase, it is not written or deleted again and again.",
			kind:   pods(), virtual: virtualPod(withGrace(0), withFinalizer, succeeded),
		},
		"PodEndedFinalizerGraceful": {
			reason: "A deleted pod whose copy has ended gets its final phase before the last deletion.",
			kind:   pods(), virtual: virtualPod(withGrace(5), withFinalizer),
			want: reconciled{virtual: []string{"update status", "delete"}},
		},
		"PodEndedLateHost": {
			reason: "A terminating pod whose copy only the cache lacks is left alone.",
			kind:   pods(), virtual: virtualPod(withGrace(5)), host: hostPod(withGrace(5)), lateHost: true,
			want: reconciled{again: lateCachePause},
		},
		"PodOrphanTerminating": {
			reason: "A pod that is gone was deleted by force: its copy must not use up its grace period.",
			kind:   pods(), host: hostPod(withGrace(30)),
			want: reconciled{host: []string{"delete"}},
		},
		"PodOrphanForced": {
			reason: "A copy whose grace period is 0 already is waited for.",
			kind:   pods(), host: hostPod(withGrace(0), withFinalizer),
		},
		"PodPredecessorTerminating": {
			reason: "So is the copy of a pod whose name another pod has by now.",
			kind:   pods(), virtual: virtualPod(func(p *corev1.Pod) { p.UID = "v2" }), host: hostPod(withGrace(30)),
			want: reconciled{host: []string{"delete"}},
		},
		"PodOrphanKeepsGrace": {
			reason: "A copy that needs a grace period is not deleted at once.",
			kind:   patientPods(), host: hostPod(withGrace(7)),
		},
		"PodOrphanShortestGrace": {
			reason: "It gets no more than that.",
			kind:   patientPods(), host: hostPod(withGrace(30)),
			want: reconciled{host: []string{"delete"}},
		},
		"PodForcedKeepsGrace": {
			reason: "Nor is it deleted at once if finalizers keep the pod.",
			kind:   patientPods(), virtual: virtualPod(withGrace(0), withFinalizer), host: hostPod(withGrace(7)),
		},
		"PodPredecessorKeepsGrace": {
			reason: "Nor if another pod has its name by now.",
			kind:   patientPods(), virtual: virtualPod(func(p *corev1.Pod) { p.UID = "v2" }), host: hostPod(withGrace(7)),
			want: reconciled{virtual: []string{"create"}},
		},
		"PodPredecessorStays": {
			reason: "A pod that waits for the copy of an earlier one of its name shows an Event.",
			kind:   pods(), virtual: virtualPod(func(p *corev1.Pod) { p.UID = "v2" }), host: hostPod(withGrace(0), withFinalizer),
			want: reconciled{virtual: []string{"create"}},
		},
		"PodEvicted": {
			reason: "A pod ends when the host ends its copy.",
			kind:   pods(), virtual: virtualPod(), host: hostPod(withGrace(7)),
			want: reconciled{virtual: []string{"delete"}},
		},
		"PodLost": {
			reason: "A pod that ran gets its final phase and is gone when its copy is gone.",
			kind:   pods(), virtual: virtualPod(),
			want: reconciled{virtual: []string{"update status", "delete"}},
		},
		"PodLostFinal": {
			reason: "A pod that has a final phase keeps it.",
			kind:   pods(), virtual: virtualPod(succeeded),
			want: reconciled{virtual: []string{"delete"}},
		},
		"PodNotLost": {
			reason: "What only the cache lacks is not lost.",
			kind:   pods(), virtual: virtualPod(), host: hostPod(), lateHost: true,
			want: reconciled{again: expectationLife},
		},
		"NoOrphan": {
			reason: "What only the cache lacks leaves no orphan.",
			kind:   configMaps(), virtual: virtualMap(), host: hostMap("v1"), lateVirtual: true,
			want: reconciled{again: time.Second},
		},
		"NotPendingForever": {
			reason: "A copy made at admission is adopted rather than collected, however late its object is seen.",
			kind:   configMaps(), virtual: virtualMap(), lateVirtual: true, known: pendingLife,
			host: hostMap(labels.Pending, func(m *corev1.ConfigMap) { m.CreationTimestamp = metav1.NewTime(testStart().Add(-time.Hour)) }),
			want: reconciled{again: time.Second},
		},
		"PodLostEarly": {
			reason: "A pod that never ran gets a new copy.",
			kind:   pods(), virtual: virtualPod(func(p *corev1.Pod) { p.Spec.NodeName = "" }),
			want: reconciled{host: []string{"create"}},
		},
		"PodBound": {
			reason: "The node of a pod goes up as a binding; the rest follows with the next event.",
			kind:   pods(), virtual: virtualPod(func(p *corev1.Pod) { p.Spec.NodeName, p.Status = "", corev1.PodStatus{} }), host: hostPod(),
			want: reconciled{virtual: []string{"create binding"}},
		},
		"PodStatus": {
			reason: "The status of a pod goes up as a status.",
			kind:   pods(), virtual: virtualPod(func(p *corev1.Pod) { p.Status = corev1.PodStatus{} }), host: hostPod(),
			want: reconciled{virtual: []string{"update status"}},
		},
		"PodEphemeral": {
			reason: "Ephemeral containers go down where the API server takes them.",
			kind:   pods(), virtual: virtualPod(func(p *corev1.Pod) {
				p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug"}}}
			}), host: hostPod(),
			want: reconciled{host: []string{"patch ephemeralcontainers"}},
		},
		"PodResizedAndLabelled": {
			reason: "Resources go down where the API server takes them, labels beside them.",
			kind:   pods(), virtual: virtualPod(func(p *corev1.Pod) {
				p.Labels = map[string]string{"app": "cart"}
				p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *resourceOf("2")}
			}), host: hostPod(),
			want: reconciled{host: []string{"patch resize", "patch"}},
		},
		"TokenBesideSecret": {
			reason: "A host Secret of one kind is made although the other kind has one of the same virtual name.",
			kind:   tokens(), virtual: virtualPod(), host: func() client.Object {
				s := &corev1.Secret{}
				translate.Stamp(testCluster(), translate.Hashed, theKey(), "other", s)
				return s
			}(),
			want: reconciled{host: []string{"create"}, again: time.Hour},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clocktesting.NewFakeClock(testStart())
			b := newBenchOf(tc.kind, c, tc.virtual, tc.host)
			b.reason = tc.held
			if tc.lateVirtual {
				b.virtualView.seen = nil
			}
			if tc.lateHost {
				b.hostView.seen = nil
			}
			if tc.known > 0 {
				if _, err := b.reconcile(t.Context(), theKey()); err != nil {
					t.Fatal(err)
				}
				c.Step(tc.known)
			}
			again, err := b.reconcile(t.Context(), theKey())
			b.compare(t, tc.reason, tc.want, again, err)
		})
	}
}

func TestRefusalIsTold(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	virtual, host := newFakeServer("virtual", c, virtualMap()), newFakeServer("host", c)
	name := translate.Hashed(testCluster(), theKey()).Name
	host.before = func(verb string, o client.Object) error {
		return apierrors.NewForbidden(resource(o), name, errors.New(`exceeded quota in namespace "tenant"`))
	}
	b := newBench(configMaps(), c, virtual, host)
	for range 3 {
		_, err := b.reconcile(t.Context(), theKey())
		if _, refused := errors.AsType[*hostRefusal](err); !refused {
			t.Fatalf("A decision of the host must come out as a refusal, got %v", err)
		}
	}
	events := virtual.list(&corev1.Event{}, labelsEverything())
	if len(events) != 1 {
		t.Fatalf("The same refusal must be one event, got %d", len(events))
	}
	event := events[0].(*corev1.Event)
	want := `cannot create host object web/cart: ConfigMap "cart" is forbidden: exceeded quota in namespace "web"`
	if diff := cmp.Diff(want, event.Message); diff != "" {
		t.Errorf("The tenant must be told in names of the virtual cluster (-want +got):\n%s", diff)
	}
	c.Step(eventPeriod)
	_, _ = b.reconcile(t.Context(), theKey())
	if event := virtual.list(&corev1.Event{}, labelsEverything())[0].(*corev1.Event); event.Count != 2 {
		t.Errorf("A refusal that lasts must be counted in its event, got %d", event.Count)
	}
}

func TestStatusDoesNotWaitForSpec(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	virtual := newFakeServer("virtual", c, virtualPod(func(p *corev1.Pod) {
		p.Labels, p.Status = map[string]string{"app": "cart"}, corev1.PodStatus{}
	}))
	host := newFakeServer("host", c, hostPod())
	host.before = func(string, client.Object) error { return apierrors.NewBadRequest("no") }
	b := newBench(pods(), c, virtual, host)
	if _, err := b.reconcile(t.Context(), theKey()); err == nil {
		t.Error("A refused patch must be reported")
	}
	if got := virtual.get(&corev1.Pod{}, theKey()).(*corev1.Pod).Status.Phase; got != corev1.PodRunning {
		t.Errorf("A running pod must be shown as running although its patch is refused, got %q", got)
	}
}

func TestCreateFirstThenAdopt(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	virtual, host := newFakeServer("virtual", c), newFakeServer("host", c)
	b := newBench(configMaps(), c, virtual, host)
	made, err := b.createHostCopy(b.scope(t.Context()), theKey(), virtualMap(func(m *corev1.ConfigMap) { m.UID = "" }), writeOptions{})
	if err != nil || virtualUID(made) != labels.Pending {
		t.Fatalf("A copy made first must be pending, got %q, %v", virtualUID(made), err)
	}
	virtual.add(virtualMap())
	if err := b.reconcileUntilQuiet(t, theKey()); err != nil {
		t.Fatal(err)
	}
	got := host.get(made, client.ObjectKeyFromObject(made))
	if got == nil || got.GetUID() != made.GetUID() || virtualUID(got) != "v1" {
		t.Errorf("The pending copy must be adopted, got %v", got)
	}
}

func TestNoRepeatBeforeCachesCatchUp(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	virtual, host := newFakeServer("virtual", c, virtualMap()), newFakeServer("host", c)
	b := newBench(configMaps(), c, virtual, host)
	for range 3 { // The caches stay as they are.
		if _, err := b.reconcile(t.Context(), theKey()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"create"}, host.requests); diff != "" {
		t.Errorf("A late cache must cost no request (-want +got):\n%s", diff)
	}
	c.Step(expectationLife)
	if again, err := b.reconcile(t.Context(), theKey()); err != nil || again != expectationLife {
		t.Errorf("A cache that stays late is looked past: got %s, %v", again, err)
	}
}

// TestCopyStaysWhileTheCacheOfItsOriginalIsLate checks that the state of the original in a late
// cache is no reason to delete its copy.
func TestCopyStaysWhileTheCacheOfItsOriginalIsLate(t *testing.T) {
	t.Parallel()
	private := virtualMap(func(m *corev1.ConfigMap) { m.Labels = map[string]string{"private": "yes"} })
	b := newBenchOf(configMaps(), clocktesting.NewFakeClock(testStart()), private, hostMap("v1"))
	b.virtualServer.add(virtualMap())
	again, err := b.reconcile(t.Context(), theKey())
	b.compare(t, "The original has become one that gets a copy.", reconciled{again: lateCachePause}, again, err)
	b.virtualServer.add(private)
	again, err = b.reconcile(t.Context(), theKey())
	b.compare(t, "The API server shows what the cache does.", reconciled{host: []string{"delete"}}, again, err)
}
