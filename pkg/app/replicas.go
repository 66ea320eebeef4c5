package app

import (
	"cmp"
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	_ "k8s.io/component-base/metrics/prometheus/clientgo/leaderelection" // leader_election_master_status
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/app/lifecycle"
)

// leaderLease is the name of the Lease that elects the leader. It is in kube-system of the
// virtual cluster.
const leaderLease = "sublet-leader"

// leaseWatchPause is the pause before a watch of the lease that has ended is started again.
const leaseWatchPause = time.Second

// replicas returns the number of replicas of the control plane in the settings.
func (a *configuration) replicas() int {
	return a.values.ControlPlane.StatefulSet.HighAvailability.Count()
}

// apiServers returns the number of API servers that the control plane must expect. With a shared
// store, a second one may start at any time.
func (a *appWithFacts) apiServers() int {
	if !a.facts.Shared {
		return 1
	}
	return max(2, a.replicas(), a.facts.Replicas)
}

// isShared reports whether several replicas may use the store, so that the lease in it elects a
// leader. known are the facts of the last run, nil if there are none. replicas is spec.replicas
// of the StatefulSet, 0 if it is not known.
func (a *configuration) isShared(known *host.Facts, replicas int) bool {
	switch a.values.ControlPlane.BackingStore.Store() {
	case v1alpha1.StoreEmbeddedEtcd:
		wasShared := known != nil && known.Shared
		return wasShared || cmp.Or(replicas, a.replicas()) > 1
	default:
		return a.values.ControlPlane.BackingStore.IsShared()
	}
}

// otherReplicas is what this replica needs because others may lead in its place.
type otherReplicas struct {
	desired *host.Replicas
	standby *standby
	// contested is closed once other replicas may compete for the lease.
	contested <-chan struct{}
}

// newOtherReplicas builds the standby and the watch of the StatefulSet. It returns nil if the store
// does not allow several replicas.
func (a *connectedApp) newOtherReplicas() *otherReplicas {
	isEmbedded := a.values.ControlPlane.BackingStore.Store() == v1alpha1.StoreEmbeddedEtcd
	if !a.facts.Shared && !isEmbedded {
		return nil
	}
	contested := make(chan struct{})
	contest := sync.OnceFunc(func() { close(contested) })
	if a.facts.Shared {
		contest()
	}
	desired := host.NewReplicas(a.ownClient, a.names, clock.RealClock{})
	desired.OnChange(func(count int) {
		if count > 1 && !isClosed(contested) {
			a.shareStore()
			contest()
		}
	})
	return &otherReplicas{desired: desired, standby: newStandby(contested), contested: contested}
}

// shareStore records that several replicas use the store.
func (a *connectedApp) shareStore() {
	a.factsMu.Lock()
	err := a.facts.RecordShared(a.options.DataDir)
	a.factsMu.Unlock()
	if err != nil {
		klog.ErrorS(err, "Cannot record that several replicas use the store")
	}
	a.holder.Share()
}

// count returns spec.replicas of the StatefulSet from the watch. known is false if no other replica
// can lead.
func (o *otherReplicas) count() (count int, known bool) {
	if o == nil {
		return 0, false
	}
	return o.desired.Count()
}

// contest returns a channel that is closed once other replicas may compete for the lease, nil if
// they never can.
func (o *otherReplicas) contest() <-chan struct{} {
	if o == nil {
		return nil
	}
	return o.contested
}

// takeSlot takes the slot of the standby for a term that builds its own session. If it returns false,
// the term takes its session from the standby. It does not wait for the slot: a standby that has
// just started holds it, and waits for the term.
func (o *otherReplicas) takeSlot() bool { return !isClosed(o.standby.on) && o.standby.slot.TryLock() }

// isClosed reports whether a channel, to which nobody sends, is closed.
func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// listReplicas returns the names of the pods of all replicas. If controllers run in pods of
// their own, these follow.
func (a *openApp) listReplicas() []string {
	count := a.replicas()
	if live, ok := a.others.count(); ok {
		count = live
	}
	var names []string
	for ordinal := range count {
		names = append(names, a.names.Pod(ordinal))
	}
	if split := a.values.ControlPlane.Advanced.Split; split.Enabled {
		for ordinal := range int(split.Replicas) {
			names = append(names, a.names.ControllersPod(ordinal))
		}
	}
	return names
}

// watchLease calls changed after each change of the lease until ctx ends.
func watchLease(ctx context.Context, client kubernetes.Interface, changed func()) {
	for ctx.Err() == nil {
		followLease(ctx, client, changed)
		select {
		case <-ctx.Done():
		case <-time.After(leaseWatchPause):
		}
	}
}

// followLease watches the lease until the watch ends.
func followLease(ctx context.Context, client kubernetes.Interface, changed func()) {
	leases, err := client.CoordinationV1().Leases(metav1.NamespaceSystem).Watch(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, leaderLease).String(),
	})
	if err != nil {
		return // The election also polls the lease.
	}
	defer leases.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case event, open := <-leases.ResultChan():
			if !open || event.Type == watch.Error {
				return
			}
			changed()
		}
	}
}

// newElection returns the election of the replica that runs the leader parts.
func (a *builtApp) newElection() (*lifecycle.Election, error) {
	client, err := kubernetes.NewForConfig(a.controlPlane.KeeperConfig(electionUser))
	if err != nil {
		return nil, err
	}
	settings := a.values.ControlPlane.StatefulSet.HighAvailability
	identity := a.options.identity()
	return &lifecycle.Election{
		Contested: a.others.contest(),
		Watch:     func(ctx context.Context, changed func()) { watchLease(ctx, client, changed) },
		Leases:    client.CoordinationV1(),
		Lease:     types.NamespacedName{Namespace: metav1.NamespaceSystem, Name: leaderLease},
		// The UID is needed because a force-deleted pod may still run next to its successor.
		Identity:      identity.Pod + "_" + identity.UID,
		LeaseDuration: seconds(settings.LeaseDuration),
		RenewDeadline: seconds(settings.RenewDeadline),
		RetryPeriod:   seconds(settings.RetryPeriod),
	}, nil
}

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }
