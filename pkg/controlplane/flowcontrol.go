package controlplane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	flowcontrolbootstrap "k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/client-go/informers"
	flowcontrolclient "k8s.io/client-go/kubernetes/typed/flowcontrol/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/ensurer"
	"k8s.io/utils/clock"
)

// flowControlPeriod is how often the objects of flow control are compared with their
// defaults. It is upstream's period.
const flowControlPeriod = time.Minute

// flowControl maintains the default FlowSchemas and PriorityLevelConfigurations, as upstream does: a
// tenant may change the suggested ones, but not the mandatory ones. The API server also has the
// mandatory ones in memory, so it works without the objects.
type flowControl struct {
	client    flowcontrolclient.FlowcontrolV1Interface
	informers informers.SharedInformerFactory
	clock     clock.WithTicker
}

// task returns the task that keeps the objects.
func (f *flowControl) task() startTask {
	return startTask{name: "flow control", run: f.run}
}

// run compares the objects until ctx ends or an attempt fails.
func (f *flowControl) run(ctx context.Context, succeeded func()) error {
	synced := []cache.InformerSynced{
		f.informers.Flowcontrol().V1().PriorityLevelConfigurations().Informer().HasSynced,
		f.informers.Flowcontrol().V1().FlowSchemas().Informer().HasSynced,
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return ctx.Err()
	}
	for {
		if err := f.ensure(ctx); err != nil {
			return fmt.Errorf("cannot keep the objects of flow control: %w", err)
		}
		succeeded()
		select {
		case <-ctx.Done():
			return nil
		case <-f.clock.After(flowControlPeriod):
		}
	}
}

// ensure makes the objects equal to the defaults. A failure at one
// set of objects does not keep it from the others.
func (f *flowControl) ensure(ctx context.Context) error {
	levels := ensurer.NewPriorityLevelConfigurationOps(f.client.PriorityLevelConfigurations(),
		f.informers.Flowcontrol().V1().PriorityLevelConfigurations().Lister())
	schemas := ensurer.NewFlowSchemaOps(f.client.FlowSchemas(), f.informers.Flowcontrol().V1().FlowSchemas().Lister())
	suggestedLevels, mandatoryLevels := flowcontrolbootstrap.SuggestedPriorityLevelConfigurations, flowcontrolbootstrap.MandatoryPriorityLevelConfigurations
	suggestedSchemas, mandatorySchemas := flowcontrolbootstrap.SuggestedFlowSchemas, flowcontrolbootstrap.MandatoryFlowSchemas
	return errors.Join(
		ensurer.EnsureConfigurations(ctx, levels, mandatoryLevels, ensurer.NewMandatoryEnsureStrategy[*flowcontrolv1.PriorityLevelConfiguration]()),
		ensurer.EnsureConfigurations(ctx, schemas, mandatorySchemas, ensurer.NewMandatoryEnsureStrategy[*flowcontrolv1.FlowSchema]()),
		ensurer.EnsureConfigurations(ctx, levels, suggestedLevels, ensurer.NewSuggestedEnsureStrategy[*flowcontrolv1.PriorityLevelConfiguration]()),
		ensurer.EnsureConfigurations(ctx, schemas, suggestedSchemas, ensurer.NewSuggestedEnsureStrategy[*flowcontrolv1.FlowSchema]()),
		ensurer.RemoveUnwantedObjects(ctx, schemas, slices.Concat(mandatorySchemas, suggestedSchemas)),
		ensurer.RemoveUnwantedObjects(ctx, levels, slices.Concat(mandatoryLevels, suggestedLevels)),
	)
}
