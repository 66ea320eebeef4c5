package list

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/kubeconfig"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

// maxHosts bounds the hosts that are asked at the same time.
const maxHosts = 32

// listHosts asks every distinct host of the kubeconfig. A host that fails is one cluster without
// a name, with the reason.
func (o *options) listHosts(ctx context.Context, env *host.Env) ([]release.Cluster, error) {
	config, err := env.Files().Load()
	if err != nil {
		return nil, host.LoadError(err)
	}
	names := hostContexts(config)
	if len(names) == 0 {
		return nil, fault.New(fault.Usage, "Name a file with --kubeconfig or KUBECONFIG.", "the kubeconfig has no context of a host")
	}
	found := make([][]release.Cluster, len(names))
	var group errgroup.Group
	group.SetLimit(maxHosts)
	for i, name := range names {
		group.Go(func() error {
			found[i] = o.listHost(ctx, env, name)
			return nil
		})
	}
	_ = group.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return slices.Concat(found...), nil
}

// listHost asks one host. It returns in time even if a credential plugin hangs.
func (o *options) listHost(ctx context.Context, env *host.Env, name string) []release.Cluster {
	ctx, cancel := context.WithTimeout(ctx, o.hostTimeout)
	defer cancel()
	type result struct {
		clusters []release.Cluster
		err      error
	}
	results := make(chan result, 1)
	go func() {
		h, err := env.HostOf(name)
		if err != nil {
			results <- result{err: err}
			return
		}
		clusters, err := release.List(ctx, h.Client, "")
		results <- result{clusters, err}
	}()
	answer := result{err: context.DeadlineExceeded}
	select {
	case answer = <-results:
	case <-ctx.Done():
	}
	if answer.err != nil {
		reason := answer.err.Error()
		if errors.Is(answer.err, context.DeadlineExceeded) {
			reason = fmt.Sprintf("no answer in %s", o.hostTimeout)
		}
		return []release.Cluster{{Context: name, Status: status(answer.err), Reason: reason}}
	}
	for i := range answer.clusters {
		answer.clusters[i].Context = name
	}
	return answer.clusters
}

// status returns the status of a host that failed.
func status(err error) string {
	switch code, _ := fault.Classify(err); code {
	case fault.Denied:
		return "Denied"
	case fault.Unreachable:
		return "Unreachable"
	}
	return "Failed"
}

// hostContexts returns one context for each distinct cluster and user, sorted. Contexts of
// "sublet connect" are left out. Of several, it takes the current one, or else the first.
func hostContexts(config *clientcmdapi.Config) []string {
	chosen := map[[2]string]string{}
	for _, name := range slices.Sorted(maps.Keys(config.Contexts)) {
		entry := config.Contexts[name]
		if _, ok := kubeconfig.ConnectionOf(entry); ok {
			continue
		}
		key := [2]string{entry.Cluster}
		if cluster := config.Clusters[entry.Cluster]; cluster != nil {
			key = [2]string{cluster.Server, cluster.ProxyURL}
		}
		if _, exists := chosen[key]; !exists || name == config.CurrentContext {
			chosen[key] = name
		}
	}
	return slices.Sorted(maps.Values(chosen))
}
