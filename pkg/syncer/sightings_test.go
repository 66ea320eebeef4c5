package syncer

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// readsOf counts the live reads of a server.
func readsOf(s *fakeServer) int {
	return len(slices.DeleteFunc(slices.Clone(s.requests), func(r string) bool { return r != "get" }))
}

// watchDelete deletes an object from a server, shows that to the cache and delivers the
// event, or a list that lacks the object.
func (b *bench) watchDelete(side Side, object client.Object, missing bool) {
	h := &handler{runner: &runner{reconciler: b.reconciler}, side: side, own: true}
	server, view := b.virtualServer, b.virtualView
	if side == Host {
		server, view = b.hostServer, b.hostView
	}
	last := server.get(object, client.ObjectKeyFromObject(object))
	server.removeNow(object)
	view.refresh()
	what := eventDeleted
	if missing {
		what = eventMissing
	}
	h.recordSighting(theKey(), last, what)
}

// TestDeleteNeedsProof counts live reads: a delete for absence needs one, unless a watch
// has delivered the deletion of that very object.
func TestDeleteNeedsProof(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason        string
		kind          Kind
		virtual, host client.Object
		side          Side // where the object is deleted
		missing       bool // the event was lost
		restart       bool // the process is another one
		key           types.NamespacedName
		reads         int // on the other side
		deletes       bool
	}{
		"Orphan": {
			reason: "The watch has seen the deletion of the virtual object, so that no read is needed.",
			kind:   configMaps(), virtual: virtualMap(), host: hostMap("v1"), side: Virtual, deletes: true,
		},
		"OrphanMissing": {
			reason: "A list that lacks the object may be late, so that the API server is asked.",
			kind:   configMaps(), virtual: virtualMap(), host: hostMap("v1"), side: Virtual, missing: true, reads: 1, deletes: true,
		},
		"OrphanRestart": {
			reason: "Another process has seen nothing, so that the API server is asked.",
			kind:   configMaps(), virtual: virtualMap(), host: hostMap("v1"), side: Virtual, restart: true, reads: 1, deletes: true,
		},
		"OrphanAnother": {
			reason: "The deletion of another object of that name proves nothing.",
			kind:   configMaps(), virtual: virtualMap(), host: hostMap("v0"), side: Virtual, reads: 1, deletes: true,
		},
		"Terminating": {
			reason: "The watch has seen the end of the host pod, so that the virtual pod is removed at once.",
			kind:   pods(), virtual: virtualPod(withGrace(5)), host: hostPod(withGrace(5)), side: Host, deletes: true,
		},
		"TerminatingMissing": {
			reason: "A virtual pod is removed only after a look at the host, if no event tells of the host pod.",
			kind:   pods(), virtual: virtualPod(withGrace(5)), host: hostPod(), side: Host, missing: true, reads: 1, deletes: true,
		},
		"Lost": {
			reason: "A pod that has lost its host pod in front of the watch ends at once.",
			kind:   pods(), virtual: virtualPod(), host: hostPod(withGrace(5)), side: Host, deletes: true,
		},
		"LostAtOnce": {
			reason: "Nobody has announced the deletion. The label that the watch selects may be gone, so that the API server is asked.",
			kind:   pods(), virtual: virtualPod(), host: hostPod(), side: Host, reads: 1, deletes: true,
		},
		"LostRestart": {
			reason: "A pod that has lost its host pod while the server was down ends after a look at the host.",
			kind:   pods(), virtual: virtualPod(), host: hostPod(), side: Host, restart: true, reads: 1, deletes: true,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clocktesting.NewFakeClock(testStart())
			b := newBench(tc.kind, c, newFakeServer("virtual", c, tc.virtual), newFakeServer("host", c, tc.host))
			object, asked, deleting := tc.virtual, b.virtualServer, b.hostServer
			if tc.side == Host {
				object, asked, deleting = tc.host, b.hostServer, b.virtualServer
			}
			b.watchDelete(tc.side, object, tc.missing)
			if tc.restart {
				b = newBench(tc.kind, c, b.virtualServer, b.hostServer)
			}
			if _, err := b.reconcile(t.Context(), theKey()); err != nil {
				t.Fatal(err)
			}
			if got := readsOf(asked); got != tc.reads {
				t.Errorf("%s Got %d reads, want %d", tc.reason, got, tc.reads)
			}
			if got := slices.Contains(deleting.requests, "delete"); got != tc.deletes {
				t.Errorf("%s Got delete %t, want %t", tc.reason, got, tc.deletes)
			}
		})
	}
}

// TestPodWithoutOurLabel lets somebody on the host remove the label by which the watch selects a running pod.
// The watch delivers a deletion, but the virtual pod must not end while its host pod runs.
func TestPodWithoutOurLabel(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	b := newBench(pods(), c, newFakeServer("virtual", c, virtualPod()), newFakeServer("host", c, hostPod()))
	b.watchDelete(Host, hostPod(), false)
	b.hostServer.add(hostPod(func(p *corev1.Pod) { delete(p.Labels, labels.Cluster) }))
	if _, err := b.reconcile(t.Context(), theKey()); !isRefused(err) {
		t.Errorf("What has the name and is not ours is a conflict, got %v", err)
	}
	pod, ok := b.virtualServer.get(virtualPod(), theKey()).(*corev1.Pod)
	if !ok || pod.Status.Phase != corev1.PodRunning || isTerminating(pod) {
		t.Errorf("The virtual pod must stay as it is, got %+v", pod)
	}
	if told := strings.Join(eventsOf(b.virtualServer), "\n"); !strings.Contains(told, "was not created for this object") {
		t.Errorf("The tenant must be told, got %q", told)
	}
}

// TestSightingsAreBounded lets both sides of many objects go in both orders.
func TestSightingsAreBounded(t *testing.T) {
	t.Parallel()
	for name, order := range map[string][]Side{"VirtualFirst": {Virtual, Host}, "HostFirst": {Host, Virtual}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clocktesting.NewFakeClock(testStart())
			b := newBench(pods(), c, newFakeServer("virtual", c, virtualPod()), newFakeServer("host", c, hostPod()))
			for _, side := range order {
				object := client.Object(virtualPod())
				if side == Host {
					object = hostPod()
				}
				b.watchDelete(side, object, false)
			}
			if n := len(b.sightings.deletions) + len(b.sightings.states); n != 0 {
				t.Errorf("Nothing may be remembered of objects that are gone on both sides, got %d", n)
			}
		})
	}
}

// TestHostPodOfThisProcessRunsOnce removes a bound host pod before the virtual pod
// shows anything of it.
func TestHostPodOfThisProcessRunsOnce(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	fresh := virtualPod(func(p *corev1.Pod) { p.Spec.NodeName, p.Status = "", corev1.PodStatus{} })
	b := newBench(pods(), c, newFakeServer("virtual", c, fresh), newFakeServer("host", c, hostPod()))
	b.watchDelete(Host, hostPod(), false)
	if _, err := b.reconcile(t.Context(), theKey()); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(b.hostServer.requests, "create") {
		t.Error("A pod whose bound copy was removed must not run again")
	}
	if pod := b.virtualServer.get(fresh, theKey()); pod != nil {
		t.Error("A pod whose bound copy was removed must end")
	}
}

// TestFinalStateIsTheLastSeen ends a host pod and removes it in one go.
func TestFinalStateIsTheLastSeen(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	b := newBench(pods(), c, newFakeServer("virtual", c, virtualPod(withGrace(5), withFinalizer)), newFakeServer("host", c, hostPod(succeeded)))
	b.watchDelete(Host, hostPod(), false)
	if _, err := b.reconcile(t.Context(), theKey()); err != nil {
		t.Fatal(err)
	}
	if got := b.virtualServer.get(&corev1.Pod{}, theKey()).(*corev1.Pod).Status.Phase; got != corev1.PodSucceeded {
		t.Errorf("A pod must keep the phase in which its copy was seen last, got %q", got)
	}
}

// TestVolumeIsNotGoneInALateCache takes a kind with a FindOriginal whose cache is late.
func TestVolumeIsNotGoneInALateCache(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	claim := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "disk"}}
	translate.Stamp(testCluster(), translate.Hashed, theKey(), "v1", claim)
	volume := &corev1.PersistentVolume{}
	volume.Name = "disk"
	host := newFakeServer("host", c, claim)
	setHostUID(volume, host.get(claim, client.ObjectKeyFromObject(claim)))
	b := newBench(newVolumeKind(), c, newFakeServer("virtual", c, volume), host)
	late := true
	b.reconciler.host.reader = cachedReader{host, &late}
	key := types.NamespacedName{Name: "disk"}
	if again, err := b.reconcile(t.Context(), key); err != nil || again != lateCachePause {
		t.Fatalf("A volume whose claim only the cache lacks must be looked at again, got %s, %v", again, err)
	}
	if b.virtualServer.get(volume, key) == nil {
		t.Fatal("A volume must not be deleted on the word of a late cache")
	}
	host.removeNow(claim)
	if _, err := b.reconcile(t.Context(), key); err != nil || b.virtualServer.get(volume, key) != nil {
		t.Errorf("A volume whose claim is gone must be deleted, got %v", err)
	}
}

// TestMissingListItemIsNoEvent delivers both to a handler.
func TestMissingListItemIsNoEvent(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	b := newBench(configMaps(), c, newFakeServer("virtual", c, virtualMap()), newFakeServer("host", c, hostMap("v1")))
	r := newRunner(configMaps(), c, silent(), 1)
	t.Cleanup(r.queue.ShutDown)
	r.reconciler, r.storeGuard = b.reconciler, newStoreGuard(b.virtualServer, b.hostServer, testCluster(), c, silent())
	h := &handler{runner: r, ctx: t.Context(), side: Virtual, own: true, keys: r.ownKey}
	h.OnDelete(toolscache.DeletedFinalStateUnknown{Obj: virtualMap()})
	if _, ok := b.sightings.findDeletion(Virtual, theKey(), "v1"); ok {
		t.Error("A list that lacks an object proves no deletion")
	}
	h.OnDelete(virtualMap())
	if _, ok := b.sightings.findDeletion(Virtual, theKey(), "v1"); !ok {
		t.Error("An event proves a deletion")
	}
}

// TestLostStatusRefusedStillEnds lets a tenant's webhook deny the final status.
func TestLostStatusRefusedStillEnds(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	virtual := newFakeServer("virtual", c, virtualPod())
	virtual.before = func(verb string, o client.Object) error {
		if verb == "update status" {
			return apierrors.NewForbidden(resource(o), o.GetName(), nil)
		}
		return nil
	}
	b := newBench(pods(), c, virtual, newFakeServer("host", c))
	if _, err := b.reconcile(t.Context(), theKey()); err != nil {
		t.Fatal(err)
	}
	if virtual.get(&corev1.Pod{}, theKey()) != nil {
		t.Error("A status that is refused must not keep a pod that is lost")
	}
}
