// Package version is the command "sublet version".
package version

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/sublet-dev/sublet/pkg/cli/fleet"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/output"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

// options has the flags.
type options struct {
	output.Flags
	client      bool
	hostTimeout time.Duration
}

// Command returns the command.
func Command(env *host.Env) *cobra.Command {
	o := options{hostTimeout: fleet.HostTimeout}
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program, and those of all virtual clusters",
		Long: `Print the version of this program, and that of each virtual cluster.

Every distinct cluster of the kubeconfig is asked, as by "sublet list --all-contexts". With --client, no request is
sent.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), env) },
	}
	o.AddFlags(cmd)
	cmd.Flags().BoolVar(&o.client, "client", false, "Print the version of this program alone")
	release.AddTimeFlag(cmd, &o.hostTimeout, "host-timeout", "How long a host may take")
	return cmd
}

// run prints the versions.
func (o *options) run(ctx context.Context, env *host.Env) error {
	if err := o.Check(env.Colours); err != nil {
		return err
	}
	if o.IsTable() {
		if _, err := fmt.Fprintf(env.Out, "sublet %s %s/%s\n", env.Version, runtime.GOOS, runtime.GOARCH); err != nil {
			return fmt.Errorf("cannot print: %w", err)
		}
	}
	clusters, err := o.servers(ctx, env)
	if err != nil {
		return err
	}
	if !o.IsTable() {
		return o.Object(env.Out, object(env.Version, clusters))
	}
	if len(clusters) == 0 {
		return nil
	}
	rows := [][]string{}
	for _, c := range clusters {
		rows = append(rows, []string{c.Context, c.Namespace, c.Name, c.Version, c.Reason})
	}
	return o.Table(env.Out, []output.Column{{Name: "HOST"}, {Name: "NAMESPACE"}, {Name: "NAME"}, {Name: "VERSION"}, {Name: "REASON"}}, rows)
}

// servers returns the virtual clusters of all hosts. Without any host, there are none. A file
// that the user names has to be there.
func (o *options) servers(ctx context.Context, env *host.Env) ([]release.Cluster, error) {
	if o.client {
		return nil, nil
	}
	config, err := env.Files().Load()
	if err != nil {
		return nil, host.LoadError(err)
	}
	if len(config.Contexts) == 0 && *env.Flags.KubeConfig == "" {
		return nil, nil
	}
	return fleet.Ask(ctx, env, o.hostTimeout, func(ctx context.Context, h *host.Host, namespace string) ([]release.Cluster, error) {
		return release.List(ctx, h.Client, namespace)
	})
}

// object returns the versions for programs.
func object(client string, clusters []release.Cluster) map[string]any {
	servers := []any{}
	for _, c := range clusters {
		server := map[string]any{"host": c.Context}
		if c.Name != "" {
			server["namespace"], server["name"], server["version"] = c.Namespace, c.Name, c.Version
		}
		if c.Reason != "" {
			server["reason"] = c.Reason
		}
		servers = append(servers, server)
	}
	return map[string]any{
		"apiVersion": "cli.sublet.dev/v1alpha1", "kind": "Versions", "metadata": map[string]any{"name": "sublet"},
		"client": map[string]any{"version": client, "platform": runtime.GOOS + "/" + runtime.GOARCH}, "servers": servers,
	}
}
