package app

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/app/lifecycle"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds/nodes"
	"github.com/sublet-dev/sublet/pkg/virtualscheduler"
	"github.com/sublet-dev/sublet/pkg/virtualscheduler/usage"
)

// schedulerUser is the user of the virtual scheduler. Kubernetes has default roles for this
// name.
const schedulerUser = "system:kube-scheduler"

// scheduling is the virtual scheduler of one term, and the usage of foreign pods that it
// considers. Both are nil if they are off.
type scheduling struct {
	scheduler *virtualscheduler.Scheduler
	usage     *usage.Usage
}

// newScheduling builds the virtual scheduler of one term, if the settings enable it.
func (a *builtApp) newScheduling(engine *syncer.Engine) (scheduling, error) {
	settings := a.values.ControlPlane.Advanced.VirtualScheduler
	if !settings.Enabled {
		return scheduling{}, nil
	}
	var built scheduling
	var err error
	built.scheduler, err = virtualscheduler.New(virtualscheduler.Options{
		Virtual:         a.controlPlane.ClientConfig(schedulerUser, pki.GroupAdmins),
		Informers:       a.controlPlane.Informers,
		Config:          settings.Config,
		HostSchedulers:  a.values.Sync.ToHost.Pods.HybridScheduling.HostSchedulers,
		ProposalChanged: func(pod types.NamespacedName) { engine.Enqueue("pods", pod) },
	})
	if err != nil {
		return scheduling{}, fmt.Errorf("controlPlane.advanced.virtualScheduler.config: %w", err)
	}
	if !settings.HostUsage {
		return built, nil
	}
	built.usage = usage.New(usage.Options{
		Host:    a.leaderHost,
		Cluster: string(a.facts.Anchor.UID),
		Changed: func(node string) { engine.Enqueue("nodes", types.NamespacedName{Name: node}) },
	})
	return built, nil
}

// nodeUsage returns the usage of foreign pods, nil if it is off.
func (s scheduling) nodeUsage() nodes.Usage {
	if s.usage == nil {
		return nil
	}
	return s.usage
}

// proposals returns the nodes that the scheduler proposes for pods, nil without a scheduler.
func (s scheduling) proposals() kinds.Proposals {
	if s.scheduler == nil {
		return nil
	}
	return s.scheduler
}

// parts returns the parts that run after the syncer. Without the syncer, the scheduler would
// find no nodes. The checks of the scheduler are in the report while it runs.
func (s scheduling) parts(report *health) []lifecycle.Part {
	var parts []lifecycle.Part
	if s.usage != nil {
		parts = append(parts, lifecycle.Part{Name: "foreign usage", Run: s.usage.Run})
	}
	if s.scheduler != nil {
		parts = append(parts, lifecycle.Part{Name: "virtual scheduler", Run: func(ctx context.Context) error {
			defer report.add(s.scheduler.Checks)()
			return s.scheduler.Run(ctx)
		}})
	}
	return parts
}
