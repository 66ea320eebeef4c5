// Package disconnect is the command "sublet disconnect".
package disconnect

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sublet-dev/sublet/pkg/cli/connection"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/kubeconfig"
)

// Command returns the command.
func Command(env *host.Env) *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use:   "disconnect [NAME]",
		Short: "Remove the context of a virtual cluster, and go back to the one before",
		Long: `Remove the contexts that "sublet connect" wrote for a virtual cluster, with their tunnels.

Without a name, that is the current context. The context that was current before is current again.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			return run(cmd.Context(), env, name, all)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "Remove the contexts of all virtual clusters")
	return cmd
}

// run removes the contexts.
func run(ctx context.Context, env *host.Env, name string, all bool) error {
	config, err := env.Files().Load()
	if err != nil {
		return host.LoadError(err)
	}
	namespace := *env.Flags.Namespace
	removed, err := connection.Remove(ctx, env.Files(), func(context string, c kubeconfig.Connection) bool {
		switch {
		case all:
			return true
		case name == "":
			return context == config.CurrentContext
		}
		return c.Name == name && (namespace == "" || namespace == c.Namespace)
	})
	if err != nil {
		return err
	}
	if len(removed.Contexts) == 0 && !all {
		return nothing(name, config.CurrentContext)
	}
	fmt.Fprintf(env.Err, "Removed %s.", strings.Join(removed.Contexts, ", "))
	if removed.Current == "" {
		fmt.Fprintln(env.Err, " No context is current: choose one with kubectl config use-context NAME.")
		return nil
	}
	fmt.Fprintf(env.Err, " kubectl uses context %s.\n", removed.Current)
	return nil
}

// nothing returns the error for a name without a context.
func nothing(name, current string) error {
	if name == "" {
		return fault.New(fault.NotFound, "Name the virtual cluster: sublet disconnect NAME", "the current context %q is not one of sublet connect", current)
	}
	return fault.New(fault.NotFound, "List the contexts with: kubectl config get-contexts", "no context leads to virtual cluster %s", name)
}
