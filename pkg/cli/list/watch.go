package list

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/sublet-dev/sublet/pkg/cli/fleet"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

const (
	// settle is how long a change waits for others, so that they are printed together.
	settle = 100 * time.Millisecond
	// contextInterval is how often a watch looks which context is current.
	contextInterval = time.Second
	// clearScreen moves to the upper left corner of a terminal and clears it.
	clearScreen = "\x1b[H\x1b[2J"
)

// watchHosts follows every distinct host of the kubeconfig.
func (o *options) watchHosts(ctx context.Context, env *host.Env) error {
	names, err := fleet.Hosts(env)
	if err != nil {
		return err
	}
	return o.printChanges(ctx, env, names, *env.Flags.Namespace)
}

// watchCurrent follows the host of the current context. When another context becomes current, it follows that one.
func (o *options) watchCurrent(ctx context.Context, env *host.Env) error {
	for {
		h, err := env.Host()
		if err != nil {
			return err
		}
		namespace := h.Namespace
		if o.allNamespaces {
			namespace = ""
		}
		following, cancel := context.WithCancel(ctx)
		go func() {
			defer cancel()
			awaitOther(following, env, h)
		}()
		err = o.printChanges(following, env, []string{h.Context}, namespace)
		cancel()
		if ctx.Err() != nil || !errors.Is(err, context.Canceled) {
			return err
		}
	}
}

// awaitOther returns once the kubeconfig leads to another host or namespace.
func awaitOther(ctx context.Context, env *host.Env, h *host.Host) {
	_ = wait.PollUntilContextCancel(ctx, contextInterval, false, func(context.Context) (bool, error) {
		now, err := env.Host()
		if err != nil || now.Context == h.Context && now.Namespace == h.Namespace {
			return false, nil //nolint:nilerr // a kubeconfig that cannot be read now leads nowhere else
		}
		fmt.Fprintf(env.Err, "The context is %s now.\n", now.Context)
		return true, nil
	})
}

// printChanges prints what the hosts have, and each change, until ctx ends. A host that the user named must
// answer at first. It does not wait for hosts that hang.
func (o *options) printChanges(ctx context.Context, env *host.Env, names []string, namespace string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	updates := make(chan fleet.Update)
	for _, name := range names {
		go fleet.Follow(ctx, env, name, namespace, o.hostTimeout, updates)
	}
	screen := &screen{options: o, env: env, names: names, hosts: map[string][]release.Cluster{}, printed: map[string]release.Cluster{}}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case update := <-updates:
			if update.Err != nil && !o.allContexts && !screen.started {
				return update.Err
			}
			screen.hosts[update.Host] = update.Clusters
			screen.collect(ctx, updates)
			if err := screen.print(); err != nil {
				return err
			}
		}
	}
}

// screen is what a watch has printed.
type screen struct {
	*options
	env *host.Env
	// names are the contexts of all hosts.
	names []string
	// hosts has the clusters of each host that answered or failed: context -> clusters.
	hosts map[string][]release.Cluster
	// printed has the last state that was printed: context/namespace/name -> cluster.
	printed map[string]release.Cluster
	started bool
}

// collect takes further updates for a moment. The first time, it takes them until each host has
// answered or failed. One that did neither in time gets a row.
func (s *screen) collect(ctx context.Context, updates <-chan fleet.Update) {
	patience := settle
	if !s.started {
		patience = 2 * s.hostTimeout
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for s.started || len(s.hosts) < len(s.names) {
		select {
		case update := <-updates:
			s.hosts[update.Host] = update.Clusters
		case <-timer.C:
			for _, name := range s.names {
				if _, ok := s.hosts[name]; !ok {
					s.hosts[name] = []release.Cluster{fleet.Failed(name, context.DeadlineExceeded, s.hostTimeout)}
				}
			}
			return
		case <-ctx.Done():
			return
		}
	}
}

// print prints the whole table on a terminal, and what changed elsewhere.
func (s *screen) print() error {
	all := []release.Cluster{}
	for _, name := range slices.Sorted(maps.Keys(s.hosts)) {
		all = append(all, s.hosts[name]...)
	}
	defer func() { s.started = true }()
	if s.env.ShowsOut && s.IsTable() {
		fmt.Fprint(s.env.Out, clearScreen)
		return s.Table(s.env.Out, s.columns(), rows(all))
	}
	return s.printChanges(all)
}

// printChanges prints the clusters that are not as they were printed last. One that is gone is printed
// as Deleted.
func (s *screen) printChanges(all []release.Cluster) error {
	changed := s.takeChanges(all)
	if s.IsNames() {
		changed = fleet.Named(s.env, changed)
	}
	if !s.IsTable() {
		var problems []error
		for _, cluster := range changed {
			problems = append(problems, s.Object(s.env.Out, object(cluster)))
		}
		return errors.Join(problems...)
	}
	if len(changed) == 0 && s.started {
		return nil
	}
	flags := s.Flags
	flags.NoHeaders = s.NoHeaders || s.started
	return flags.Table(s.env.Out, s.columns(), rows(changed))
}

// takeChanges returns the clusters that have changed since it was last called. One that is gone has
// the status Deleted.
func (s *screen) takeChanges(all []release.Cluster) []release.Cluster {
	changed, known := []release.Cluster{}, map[string]release.Cluster{}
	for _, cluster := range all {
		key := cluster.Context + "/" + cluster.Namespace + "/" + cluster.Name
		known[key] = cluster
		if before, ok := s.printed[key]; !ok || differs(before, cluster) {
			changed = append(changed, cluster)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(s.printed)) {
		if _, ok := known[key]; !ok && s.printed[key].Name != "" {
			gone := s.printed[key]
			gone.Status = "Deleted"
			changed = append(changed, gone)
		}
	}
	s.printed = known
	return changed
}

// differs reports whether two states of a cluster are printed differently.
func differs(a, b release.Cluster) bool {
	return !slices.Equal(row(a, a.Created), row(b, b.Created))
}
