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

// buildReplicas builds the standby and the watch of the StatefulSet, if the store allows several
// replicas.
func (a *builtApp) buildReplicas() {
	isEmbedded := a.values.ControlPlane.BackingStore.Store() == v1alpha1.StoreEmbeddedEtcd
	if !a.facts.Shared && !isEmbedded {
		return
	}
	contested := make(chan struct{})
	a.contested, a.contest = contested, sync.OnceFunc(func() { close(contested) })
	a.standby = newStandby(contested)
	if a.facts.Shared {
		a.contest()
	}
	a.desired = host.NewReplicas(a.hostClient, a.names, clock.RealClock{})
	a.desired.OnChange(a.observeReplicas)
}

// observeReplicas starts the competition for the lease once the StatefulSet wants several
// replicas. From then on the store counts as shared.
func (a *builtApp) observeReplicas(count int) {
	select {
	case <-a.contested:
		return
	default:
	}
	if count <= 1 {
		return
	}
	a.factsMu.Lock()
	err := a.facts.RecordShared(a.options.DataDir)
	a.factsMu.Unlock()
	if err != nil {
		klog.ErrorS(err, "Cannot record that several replicas use the store")
	}
	a.holder.Share()
	a.contest()
}

// listReplicas returns the names of the pods of all replicas. If controllers run in pods of
// their own, these follow.
func (a *builtApp) listReplicas() []string {
	count := a.replicas()
	if a.desired != nil {
		if live, ok := a.desired.Count(); ok {
			count = live
		}
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
		Contested: a.contested,
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

// yieldLead transfers the leadership of etcd if this member was started as the only one, but the
// StatefulSet wants several. The heartbeats of a lone member are too rare for others.
func (a *builtApp) yieldLead(context.Context) error {
	if count, known := a.desiredReplicas(); !known || count < 2 {
		return nil
	}
	return a.members.etcd.YieldLead()
}
