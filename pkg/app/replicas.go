package app

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/sublet-dev/sublet/pkg/app/lifecycle"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// leaderLease is the name of the Lease that elects the leader, in kube-system of the
// virtual cluster.
const leaderLease = "sublet-leader"

// replicas returns the number of replicas of the control plane.
func (a *app) replicas() int { return a.values.ControlPlane.StatefulSet.HighAvailability.Count() }

// newElection returns the election of the replica that runs the leader parts.
func (a *app) newElection() (*lifecycle.Election, error) {
	client, err := kubernetes.NewForConfig(a.controlPlane.ClientConfig(electionUser, pki.GroupAdmins))
	if err != nil {
		return nil, err
	}
	settings := a.values.ControlPlane.StatefulSet.HighAvailability
	identity := a.options.identity()
	return &lifecycle.Election{
		Replicas: a.replicas(),
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
