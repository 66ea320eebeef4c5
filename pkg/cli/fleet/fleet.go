// Package fleet asks all hosts of a kubeconfig at the same time.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/kubeconfig"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

// HostTimeout is how long a host may take by default.
const HostTimeout = 2 * time.Second

// maxHosts bounds the hosts that are asked at the same time.
const maxHosts = 32

// Question returns what a host has in the namespace of --namespace. Empty means all namespaces.
type Question func(ctx context.Context, h *host.Host, namespace string) ([]release.Cluster, error)

// Hosts returns one context for each distinct host of the kubeconfig, sorted.
func Hosts(env *host.Env) ([]string, error) {
	config, err := env.Files().Load()
	if err != nil {
		return nil, host.LoadError(err)
	}
	names := hostContexts(config)
	if len(names) == 0 {
		return nil, fault.New(fault.Usage, "Name a file with --kubeconfig or KUBECONFIG.", "the kubeconfig has no context of a host")
	}
	return names, nil
}

// Ask asks every distinct host of the kubeconfig. A host that fails is one cluster without a name,
// with the reason. None may take longer than timeout.
func Ask(ctx context.Context, env *host.Env, timeout time.Duration, question Question) ([]release.Cluster, error) {
	names, err := Hosts(env)
	if err != nil {
		return nil, err
	}
	found := make([][]release.Cluster, len(names))
	var group errgroup.Group
	group.SetLimit(maxHosts)
	for i, name := range names {
		group.Go(func() error {
			found[i] = askHost(ctx, env, name, timeout, question)
			return nil
		})
	}
	_ = group.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return slices.Concat(found...), nil
}

// askHost asks one host. It returns in time even if a credential plugin hangs.
func askHost(ctx context.Context, env *host.Env, name string, timeout time.Duration, question Question) []release.Cluster {
	ctx, cancel := context.WithTimeout(ctx, timeout)
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
		clusters, err := question(ctx, h, *env.Flags.Namespace)
		results <- result{clusters, err}
	}()
	answer := result{err: context.DeadlineExceeded}
	select {
	case answer = <-results:
	case <-ctx.Done():
	}
	if answer.err != nil {
		return []release.Cluster{Failed(name, answer.err, timeout)}
	}
	return Mark(answer.clusters, name)
}

// Mark sets the context of clusters.
func Mark(clusters []release.Cluster, name string) []release.Cluster {
	for i := range clusters {
		clusters[i].Context = name
	}
	return clusters
}

// Failed returns the row of a host that failed, or did not answer in time.
func Failed(name string, err error, timeout time.Duration) release.Cluster {
	reason := err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		reason = fmt.Sprintf("no answer in %s", timeout)
	}
	return release.Cluster{Context: name, Status: status(err), Reason: reason}
}

// Named returns the clusters that have a name. The reason of a host that failed goes to the errors, as a list of
// names has no place for it.
func Named(env *host.Env, clusters []release.Cluster) []release.Cluster {
	return slices.DeleteFunc(slices.Clone(clusters), func(c release.Cluster) bool {
		if c.Name == "" {
			fmt.Fprintf(env.Err, "Warning: host %s: %s\n", c.Context, strings.Join(strings.Fields(c.Reason), " "))
		}
		return c.Name == ""
	})
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

// hostContexts returns one context for each distinct server, sorted. A server behind another
// proxy is another one. Contexts of "sublet connect" are left out. Of several contexts of a
// server, it takes the current one, or else the first.
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
