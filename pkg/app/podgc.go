package app

import (
	"context"

	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/app/podgc"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// podGCUser is the user that deletes finished pods.
const podGCUser = "system:sublet:pod-gc"

// runPodGC deletes finished pods during one leader term.
func (a *builtApp) runPodGC(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(a.controlPlane.ClientConfig(podGCUser, pki.GroupAdmins))
	if err != nil {
		return err
	}
	collector := &podgc.Collector{
		Client: client, Pods: a.controlPlane.Informers().Core().V1().Pods().Lister(),
		Keep: int(a.values.Policies.Objects.FinishedPods), Clock: clock.RealClock{},
	}
	return collector.Run(ctx)
}
