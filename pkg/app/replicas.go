package app

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/sublet-dev/sublet/pkg/app/lifecycle"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// leaderLease is the name of the Lease that elects the leader, in kube-system of the
// virtual cluster.
const leaderLease = "sublet-leader"

// leaseWatchPause is the pause after a watch of the lease has ended.
const leaseWatchPause = time.Second

// replicas returns the number of replicas of the control plane.
func (a *app) replicas() int { return a.values.ControlPlane.StatefulSet.HighAvailability.Count() }

// isShared reports whether several replicas can use the store, so that the lease in it
// elects a leader.
func (a *app) isShared() bool {
	return a.values.ControlPlane.BackingStore.IsShared()
}

// buildReplicas builds what one of several replicas needs. Those of a store that replicas
// share compete for its lease from the start.
func (a *app) buildReplicas() {
	if !a.isShared() {
		return
	}
	contested := make(chan struct{})
	close(contested)
	a.contested = contested
	a.standby = newStandby(contested)
	a.hostFirst.patience = hostViewTimeout
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
		return // The lease is read from time to time, too.
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
func (a *app) newElection() (*lifecycle.Election, error) {
	client, err := kubernetes.NewForConfig(a.controlPlane.ClientConfig(electionUser, pki.GroupAdmins))
	if err != nil {
		return nil, err
	}
	settings := a.values.ControlPlane.StatefulSet.HighAvailability
	identity := a.options.identity()
	return &lifecycle.Election{
		Contested: a.contested,
		Watch:     func(ctx context.Context, changed func()) { watchLease(ctx, client, changed) },
		Lock: &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: leaderLease},
			Client:    client.CoordinationV1(),
			// A pod that was deleted by force may run on next to its successor of the same name.
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity.Pod + "_" + identity.UID},
		},
		LeaseDuration: seconds(settings.LeaseDuration),
		RenewDeadline: seconds(settings.RenewDeadline),
		RetryPeriod:   seconds(settings.RetryPeriod),
	}, nil
}

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }
