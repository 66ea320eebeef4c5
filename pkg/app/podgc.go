package app

import (
	"context"

	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/app/podgc"
)

// podGCUser is the user that deletes finished pods.
const podGCUser = "system:sublet:pod-gc"

// runPodGC deletes finished pods during one leader term. Policies and webhooks of the tenant cannot
// prevent that, because all tenants of the host share its limit.
func (a *builtApp) runPodGC(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(a.controlPlane.KeeperConfig(podGCUser))
	if err != nil {
		return err
	}
	collector := &podgc.Collector{
		Client: client, Pods: a.controlPlane.Informers().Core().V1().Pods().Lister(),
		Keep: int(a.values.Policies.Objects.FinishedPods), Clock: clock.RealClock{},
	}
	return collector.Run(ctx)
}
