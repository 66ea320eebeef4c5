package sim

import (
	"context"
	"fmt"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/events"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/profile"
)

// runScheduler starts kube-scheduler with its default profile, without leader
// election: it is the only one.
func (h *Host) runScheduler(ctx context.Context) error {
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: h.client.EventsV1()})
	factory := scheduler.NewInformerFactory(h.client, 0, nil)
	// Its bind calls are cancelled with ctx, like everything else of it.
	sched, err := scheduler.New(ctx, h.client, factory, nil, profile.NewRecorderFactory(broadcaster),
		scheduler.WithKubeConfig(h.Config()),
		// A test that adds a node wants its pending pods there soon.
		scheduler.WithPodInitialBackoffSeconds(1),
		scheduler.WithPodMaxBackoffSeconds(2))
	if err != nil {
		return fmt.Errorf("cannot create the scheduler: %w", err)
	}
	broadcaster.StartRecordingToSink(ctx.Done())
	if err := startInformers(ctx, factory); err != nil {
		return err
	}
	if err := sched.WaitForHandlersSync(ctx); err != nil {
		return fmt.Errorf("cannot wait for the scheduler's view of the cluster: %w", err)
	}
	h.parts.Go(func() {
		defer broadcaster.Shutdown()
		sched.Run(ctx)
	})
	return nil
}

func startInformers(ctx context.Context, factory informers.SharedInformerFactory) error {
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("cannot list %s for the scheduler: %w", kind, context.Cause(ctx))
		}
	}
	return nil
}
