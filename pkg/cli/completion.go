package cli

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/kubeconfig"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

// completionTimeout bounds what a press of the tab key waits for.
const completionTimeout = 2 * time.Second

// completer returns candidates for what a user types.
type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// addCompletion completes names of virtual clusters, contexts and namespaces.
func addCompletion(env *host.Env, root *cobra.Command) {
	commands := root.Commands()
	for _, cmd := range root.Commands() {
		commands = append(commands, cmd.Commands()...)
	}
	for _, cmd := range commands {
		switch name, arguments, _ := strings.Cut(cmd.Use, " "); {
		case name == "create" || cmd.Hidden:
		case name == "disconnect":
			cmd.ValidArgsFunction = complete(func(context.Context) ([]string, error) { return connectedNames(env) })
		case strings.HasPrefix(arguments, "NAME"), strings.HasPrefix(arguments, "[NAME]"):
			cmd.ValidArgsFunction = complete(func(ctx context.Context) ([]string, error) { return clusterNames(ctx, env) })
		}
	}
	// The flags are those of kubectl, which exist.
	_ = root.RegisterFlagCompletionFunc("context", completeFlag(func(context.Context) ([]string, error) {
		config, err := env.Files().Load()
		if err != nil {
			return nil, err
		}
		return slices.Sorted(maps.Keys(config.Contexts)), nil
	}))
	_ = root.RegisterFlagCompletionFunc("namespace", completeFlag(func(ctx context.Context) ([]string, error) {
		return namespaceNames(ctx, env)
	}))
}

// complete returns a completer for the first argument.
func complete(list func(context.Context) ([]string, error)) completer {
	flag := completeFlag(list)
	return func(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return flag(cmd, args, text)
	}
}

// completeFlag returns a completer for the value of a flag. What cannot be listed has no candidates.
func completeFlag(list func(context.Context) ([]string, error)) completer {
	return func(cmd *cobra.Command, _ []string, text string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		names, err := list(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, text) })
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// clusterNames returns the names of the virtual clusters: of the namespace of the flag, or of all.
func clusterNames(ctx context.Context, env *host.Env) ([]string, error) {
	h, err := env.Host()
	if err != nil {
		return nil, err
	}
	clusters, err := release.List(ctx, h.Client, *env.Flags.Namespace)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, cluster := range clusters {
		names[cluster.Name] = true
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// connectedNames returns the names of the virtual clusters that have a context.
func connectedNames(env *host.Env) ([]string, error) {
	config, err := env.Files().Load()
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, entry := range config.Contexts {
		if connection, ok := kubeconfig.ConnectionOf(entry); ok {
			names[connection.Name] = true
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// namespaceNames returns the namespaces of the host.
func namespaceNames(ctx context.Context, env *host.Env) ([]string, error) {
	h, err := env.Host()
	if err != nil {
		return nil, err
	}
	list, err := h.Client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, namespace := range list.Items {
		names = append(names, namespace.Name)
	}
	return names, nil
}
