package app

import (
	"context"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/app/limits"
	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// runLimits mirrors the limits of the host namespace to the tenant during one leader term.
// virtual has the identity of the syncer, which alone may write the mirror. Admission of the tenant does
// not apply to it, as no policy would let the syncer write what that alters.
func (a *connectedApp) runLimits(ctx context.Context, engine *syncer.Engine, virtual *rest.Config) error {
	virtualClient, err := kubernetes.NewForConfig(virtual)
	if err != nil {
		return err
	}
	hostClient, err := kubernetes.NewForConfig(a.leaderHost)
	if err != nil {
		return err
	}
	mirror := &limits.Mirror{Virtual: virtualClient, Usage: engine.Usage, Clock: clock.RealClock{}}
	host := informers.NewSharedInformerFactoryWithOptions(hostClient, 0, informers.WithNamespace(a.names.Namespace))
	if a.values.Policies.HasResourceQuota() {
		mirror.Quotas = host.Core().V1().ResourceQuotas().Lister()
	}
	if a.values.Policies.HasLimitRange() {
		mirror.LimitRanges = host.Core().V1().LimitRanges().Lister()
	}
	host.StartWithContext(ctx)
	host.WaitForCacheSyncWithContext(ctx)
	return mirror.Run(ctx)
}

// writeLimit returns the rate limit of the tenants' writes to the store.
func writeLimit(settings v1alpha1.Writes) controlplane.WriteLimit {
	return controlplane.WriteLimit{BytesPerSecond: settings.BytesPerSecond.Value(), Burst: settings.Burst.Value()}
}
