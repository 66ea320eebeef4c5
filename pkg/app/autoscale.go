package app

import (
	"time"

	etcd "go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/app/autoscale"
	"github.com/sublet-dev/sublet/pkg/app/lifecycle"
)

// newReporter returns the reporter of this replica's request rate, nil if the settings do not
// scale by it.
func (a *connectedApp) newReporter(store func() etcd.Interface) *autoscale.Reporter {
	if !a.values.ControlPlane.StatefulSet.Autoscaling.CountsRequests() || !a.options.servesAPI() {
		return nil
	}
	return &autoscale.Reporter{Replica: a.options.identity().Pod, Store: store, Clock: clock.RealClock{}}
}

// countRequest returns the function that the API server calls for each request, nil if requests
// are not counted.
func (a *openApp) countRequest() func() {
	if a.reporter == nil {
		return nil
	}
	return a.reporter.Count
}

// newScaler returns the part that scales the control plane while this replica leads, nil if the
// settings do not scale by the request rate.
func (a *openApp) newScaler() (*autoscale.Scaler, error) {
	if !a.values.ControlPlane.StatefulSet.Autoscaling.CountsRequests() || !a.options.canLead() {
		return nil, nil //nolint:nilnil // There is nothing to scale.
	}
	client, err := kubernetes.NewForConfig(a.leaderHost)
	if err != nil {
		return nil, err
	}
	settings := a.values.ControlPlane.StatefulSet.Autoscaling
	window := func(seconds int32) time.Duration { return time.Duration(seconds) * time.Second }
	return &autoscale.Scaler{
		Limits: autoscale.Limits{
			Min: int(settings.MinReplicas), Max: int(settings.MaxReplicas),
			Target: float64(settings.TargetRequestsPerSecond),
			Up:     window(settings.Behavior.ScaleUp.StabilizationWindowSeconds),
			Down:   window(settings.Behavior.ScaleDown.StabilizationWindowSeconds),
		},
		Store:     a.api.storeClient,
		Workloads: client.AppsV1().StatefulSets(a.names.Namespace),
		Workload:  a.names.StatefulSet(),
		Replicas:  a.livePods,
		Recorded: func(o autoscale.Outcome) {
			a.events.RecordScaled(a.holder.AnchorOwner(), o.Failed, o.Message)
		},
		Clock: clock.RealClock{},
	}, nil
}

// livePods returns the names of the pods that the StatefulSet wants now. ok is false if that is
// not known yet.
func (a *openApp) livePods() (pods []string, ok bool) {
	count, ok := a.others.count()
	for ordinal := range count {
		pods = append(pods, a.names.Pod(ordinal))
	}
	return pods, ok
}

// scalingParts returns the parts that scale the control plane by its request rate.
func (a *builtApp) scalingParts() []lifecycle.Part {
	var parts []lifecycle.Part
	if a.reporter != nil {
		parts = append(parts, lifecycle.Part{Name: "rate of requests", Run: a.reporter.Run})
	}
	if a.scaler != nil {
		parts = append(parts, lifecycle.Part{Name: "autoscaling", Run: a.scaler.Run, Leader: true})
	}
	return parts
}
