package app

import (
	"time"

	etcd "go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/app/autoscale"
	"github.com/sublet-dev/sublet/pkg/app/lifecycle"
)

// scaling has the parts that scale the control plane by its request rate. They are nil if that
// is off.
type scaling struct {
	reporter *autoscale.Reporter
	scaler   *autoscale.Scaler
}

// newReporter returns the reporter of this replica's request rate, nil if the settings do not
// scale by it.
func (a *builtApp) newReporter() *autoscale.Reporter {
	if !a.values.ControlPlane.StatefulSet.Autoscaling.CountsRequests() || !a.options.servesAPI() {
		return nil
	}
	return &autoscale.Reporter{Replica: a.options.identity().Pod, Store: a.storeClient, Clock: clock.RealClock{}}
}

// storeClient returns the client of the store. The control plane must have started it.
func (a *builtApp) storeClient() etcd.Interface { return a.controlPlane.Store().Kubernetes }

// countRequest returns the function that the API server calls for each request, nil if requests
// are not counted.
func (a *builtApp) countRequest() func() {
	if a.scaling.reporter == nil {
		return nil
	}
	return a.scaling.reporter.Count
}

// buildScaler builds the part that scales the control plane while this replica leads.
func (a *builtApp) buildScaler() error {
	if !a.values.ControlPlane.StatefulSet.Autoscaling.CountsRequests() || !a.options.canLead() {
		return nil
	}
	client, err := kubernetes.NewForConfig(a.limiter.Wrap(a.leaderHost))
	if err != nil {
		return err
	}
	settings := a.values.ControlPlane.StatefulSet.Autoscaling
	window := func(seconds int32) time.Duration { return time.Duration(seconds) * time.Second }
	a.scaling.scaler = &autoscale.Scaler{
		Limits: autoscale.Limits{
			Min: int(settings.MinReplicas), Max: int(settings.MaxReplicas),
			Target: float64(settings.TargetRequestsPerSecond),
			Up:     window(settings.Behavior.ScaleUp.StabilizationWindowSeconds),
			Down:   window(settings.Behavior.ScaleDown.StabilizationWindowSeconds),
		},
		Store:     a.storeClient,
		Workloads: client.AppsV1().StatefulSets(a.names.Namespace),
		Workload:  a.names.StatefulSet(),
		Replicas:  a.livePods,
		Recorded: func(failed bool, message string) {
			a.events.RecordScaled(a.holder.AnchorOwner(), failed, message)
		},
		Clock: clock.RealClock{},
	}
	return nil
}

// livePods returns the names of the pods that the StatefulSet wants now. ok is false if that is
// not known yet.
func (a *builtApp) livePods() (pods []string, ok bool) {
	count, ok := a.desired.Count()
	for ordinal := range count {
		pods = append(pods, a.names.Pod(ordinal))
	}
	return pods, ok
}

// parts returns the parts that are on.
func (s scaling) parts() []lifecycle.Part {
	var parts []lifecycle.Part
	if s.reporter != nil {
		parts = append(parts, lifecycle.Part{Name: "rate of requests", Run: s.reporter.Run})
	}
	if s.scaler != nil {
		parts = append(parts, lifecycle.Part{Name: "autoscaling", Run: s.scaler.Run, Leader: true})
	}
	return parts
}
