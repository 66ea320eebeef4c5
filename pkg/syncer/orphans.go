package syncer

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// pendingLife is how long a host object that was created at admission waits for its
// virtual object. Requests to the API server time out before that.
const pendingLife = time.Minute

// lateCachePause is when to look again after a live read has shown that a cache is late.
const lateCachePause = time.Second

// interruptedLife is how long the two steps of a deletion may take before it counts as
// interrupted.
const interruptedLife = 2 * time.Second

// isDeletionInterrupted reports whether the host's API server has begun to delete a host
// copy and will never finish. It deletes a pod in two steps: it sets the deletionTimestamp
// with grace period 0, then removes the pod. If another write comes in between, such as a
// binding, the second step fails. No kubelet removes a pod without a node, so it would stay
// for ever.
func (r *reconciler) isDeletionInterrupted(s Scope, key types.NamespacedName, host client.Object) bool {
	grace := host.GetDeletionGracePeriodSeconds()
	if !isTerminating(host) || grace == nil || *grace != 0 || len(host.GetFinalizers()) > 0 || virtualUID(host) == labels.Pending {
		return false
	}
	age := r.sightings.age(key, "interrupted "+string(host.GetUID()))
	if age < interruptedLife {
		s.RequeueAfter(interruptedLife - age)
		return false
	}
	return true
}

// deleteOrphan deletes a host copy whose virtual object is gone. A virtual pod is only gone
// before its host pod if somebody forced its deletion. The host pod is then deleted with the
// shortest grace period that the kind allows.
func (r *reconciler) deleteOrphan(s Scope, key types.NamespacedName, host client.Object) error {
	pending := virtualUID(host) == labels.Pending
	if pending {
		// The age counts from when this process first saw the object, because the host's clock
		// may differ from ours.
		if age := r.sightings.age(key, "pending "+string(host.GetUID())); age < pendingLife {
			s.RequeueAfter(pendingLife - age + time.Second)
			return nil
		}
	}
	grace := r.orphanGrace(host)
	if r.kind.outlives || isTerminating(host) && !isShorter(grace, host.GetDeletionGracePeriodSeconds()) {
		return nil
	}
	late, err := r.isVirtualCacheLate(s, key, host)
	if err != nil {
		return err
	}
	if late {
		s.RequeueAfter(lateCachePause)
		return nil
	}
	if err := r.deleteHost(s, key, host, deleteOptions{grace: grace, ifUnchanged: pending}); err != nil {
		return err
	}
	r.unstored.forget(key)
	return nil
}

// deletePredecessor deletes the host copy of an earlier virtual object of the same name. It
// must be gone before the new object gets its own copy. The tenant sees an Event while the
// host is still deleting it.
func (r *reconciler) deletePredecessor(s Scope, key types.NamespacedName, virtual, host client.Object) error {
	grace := r.orphanGrace(host)
	if isTerminating(host) && !isShorter(grace, host.GetDeletionGracePeriodSeconds()) {
		r.events.record(s.Context, r.kind.name, virtual, tenantEvent{
			corev1.EventTypeNormal, reasonWaitingForDeletion,
			"The host is still deleting the copy of an earlier object of this name. The new copy is created after that.",
		})
		return nil
	}
	late, err := r.isVirtualCacheLate(s, key, host)
	if err != nil {
		return err
	}
	if late {
		s.RequeueAfter(lateCachePause)
		return nil
	}
	return r.deleteHost(s, key, host, deleteOptions{grace: grace})
}

// deleteUnwanted deletes a host copy that is no longer wanted, if the virtual API server agrees.
// It fails if the host copy has changed since it was read: the change may be a reason to keep it.
func (r *reconciler) deleteUnwanted(s Scope, key types.NamespacedName, virtual, host client.Object) error {
	if host == nil || isTerminating(host) {
		return nil
	}
	wanted, err := r.isWantedLive(s, key, virtual, host)
	if err != nil {
		return err
	}
	if wanted {
		s.RequeueAfter(lateCachePause)
		return nil
	}
	return r.deleteHost(s, key, host, deleteOptions{ifUnchanged: true})
}

// isWantedLive reports whether the kind wants a host copy by what the virtual API server has now.
// The caches of the virtual object and of what refers to it may be late. It does not ask about
// pods: the state of both pods decides, and a host pod that has no node yet is created again.
func (r *reconciler) isWantedLive(s Scope, key types.NamespacedName, virtual, host client.Object) (bool, error) {
	if r.kind.evictedWithCopy {
		return false, nil
	}
	live, err := getLive(s.Context, r.virtual.client, r.kind.newVirtual(), key)
	if err != nil {
		return false, fmt.Errorf("cannot verify that %s needs no host copy: %w", key, err)
	}
	if live == nil || live.GetUID() != virtual.GetUID() {
		return false, nil
	}
	s.Virtual = r.liveVirtualReader()
	if s, err = r.load(s, live, host); err != nil {
		return false, err
	}
	wanted, err := r.kind.want(s, live, host)
	if err != nil {
		return false, fmt.Errorf("cannot verify that %s needs no host copy: %w", key, err)
	}
	return wanted, nil
}

// orphanGrace returns the grace period for the deletion of an orphan. nil means the grace
// period of the orphan itself.
func (r *reconciler) orphanGrace(host client.Object) *int64 {
	if r.kind.evictedWithCopy {
		return r.atLeastGrace(host, new(int64))
	}
	return nil
}

// atLeastGrace returns grace, or the shortest grace period that the kind allows for the host
// copy if that is longer. nil stays nil.
func (r *reconciler) atLeastGrace(host client.Object, grace *int64) *int64 {
	if r.kind.leastGrace == nil || grace == nil {
		return grace
	}
	return new(max(*grace, r.kind.leastGrace(host)))
}

// isVirtualCacheLate reports whether the virtual object of a host copy exists although
// the cache does not show it. It asks the API server, unless a watch has delivered the
// deletion of that very object.
func (r *reconciler) isVirtualCacheLate(s Scope, key types.NamespacedName, host client.Object) (bool, error) {
	uid := virtualUID(host)
	if _, ok := r.sightings.findDeletion(Virtual, key, uid); ok {
		return false, nil
	}
	found, err := getLive(s.Context, r.virtual.client, r.kind.newVirtual(), key)
	if err != nil {
		return false, fmt.Errorf("cannot verify that virtual object %s is deleted: %w", key, err)
	}
	return found != nil && (uid == labels.Pending || found.GetUID() == uid), nil
}

// getUnseenCopy returns the host copy of a virtual object if it exists although the
// cache does not show it, and nil if it is gone. It asks the API server, unless a watch
// has delivered the deletion of that very copy, which was requested before. A watch also delivers
// a deletion if somebody removes the label that it selects, and the pod runs on.
func (r *reconciler) getUnseenCopy(s Scope, key types.NamespacedName, virtual client.Object) (client.Object, error) {
	if seen, ok := r.sightings.findDeletion(Host, key, virtual.GetUID()); ok && seen.requested {
		return nil, nil
	}
	hostKey := r.hostKey(key)
	found, err := getLive(s.Context, r.host.client, r.kind.newHost(), hostKey)
	if err != nil {
		return nil, fmt.Errorf("cannot verify that host object %s is deleted: %w", hostKey, err)
	}
	return found, nil
}
