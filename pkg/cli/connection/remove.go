package connection

import (
	"context"
	"maps"
	"slices"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/pkg/cli/kubeconfig"
)

// Removed is what [Remove] has done.
type Removed struct {
	// Contexts are the names of the contexts that were removed.
	Contexts []string
	// Current is the current context afterwards. It may be empty.
	Current string
}

// Remove removes each context that matches, with its cluster and its user. If the current one is
// among them, the one before it is current again. Their background tunnels end by themselves.
func Remove(ctx context.Context, files *kubeconfig.Files, matches func(name string, connection kubeconfig.Connection) bool) (Removed, error) {
	var removed Removed
	err := files.Update(ctx, func(current *clientcmdapi.Config) (kubeconfig.Change, error) {
		removed = Removed{Current: current.CurrentContext}
		change := kubeconfig.Change{
			Clusters: map[string]*clientcmdapi.Cluster{}, Users: map[string]*clientcmdapi.AuthInfo{}, Contexts: map[string]*clientcmdapi.Context{},
		}
		for _, name := range slices.Sorted(maps.Keys(current.Contexts)) {
			connection, ok := kubeconfig.ConnectionOf(current.Contexts[name])
			if !ok || !matches(name, connection) {
				continue
			}
			removed.Contexts = append(removed.Contexts, name)
			change.Contexts[name] = nil
		}
		for _, name := range removed.Contexts {
			// A context may have got another name, and another one may use its cluster or user.
			entry := current.Contexts[name]
			if !isUsed(current, removed.Contexts, func(c *clientcmdapi.Context) bool { return c.Cluster == entry.Cluster }) {
				change.Clusters[entry.Cluster] = nil
			}
			if !isUsed(current, removed.Contexts, func(c *clientcmdapi.Context) bool { return c.AuthInfo == entry.AuthInfo }) {
				change.Users[entry.AuthInfo] = nil
			}
		}
		removed.Current = currentWithout(current, removed.Contexts)
		if removed.Current != current.CurrentContext {
			change.CurrentContext = &removed.Current
		}
		return change, nil
	})
	return removed, err
}

// isUsed reports whether a context matches that is not among some.
func isUsed(config *clientcmdapi.Config, some []string, matches func(*clientcmdapi.Context) bool) bool {
	for name, other := range config.Contexts {
		if !slices.Contains(some, name) && matches(other) {
			return true
		}
	}
	return false
}

// currentWithout returns the context to use once some are removed: the current one if it stays,
// else the nearest one before it that stays. It is empty if there is none.
func currentWithout(config *clientcmdapi.Config, removed []string) string {
	name := config.CurrentContext
	for range len(config.Contexts) + 1 {
		if !slices.Contains(removed, name) {
			break
		}
		connection, _ := kubeconfig.ConnectionOf(config.Contexts[name])
		name = connection.Previous
	}
	if _, exists := config.Contexts[name]; !exists && name != config.CurrentContext || slices.Contains(removed, name) {
		return ""
	}
	return name
}
