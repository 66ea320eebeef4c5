// Package upgrade is the command "sublet upgrade".
package upgrade

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

// options has the flags.
type options struct {
	values  release.Values
	reset   bool
	wait    bool
	ignore  bool
	timeout time.Duration
}

// Command returns the command.
func Command(env *host.Env) *cobra.Command {
	o := options{timeout: 5 * time.Minute}
	cmd := &cobra.Command{
		Use:   "upgrade NAME",
		Short: "Upgrade a virtual cluster, or change its settings",
		Long: `Upgrade a virtual cluster to the version of this program, and change settings.

Settings that were given earlier stay, unless --reset-values is set. What Argo CD or Flux has installed is
changed in its repository.`,
		Example: `  sublet upgrade shop --set controlPlane.statefulSet.resources.limits.memory=4Gi`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), env, args[0])
		},
	}
	release.AddValueFlags(cmd, &o.values)
	cmd.Flags().BoolVar(&o.reset, "reset-values", false, "Forget the settings that were given earlier")
	cmd.Flags().BoolVar(&o.wait, "wait", true, "Wait until the virtual cluster is ready")
	release.AddTimeoutFlag(cmd, &o.timeout, "Longest wait")
	release.AddOwnerFlag(cmd, &o.ignore)
	return cmd
}

// run upgrades the virtual cluster.
func (o *options) run(ctx context.Context, env *host.Env, name string) error {
	values, err := release.Parse(&o.values)
	if err != nil {
		return err
	}
	h, cluster, err := release.FindHost(ctx, env, name)
	if err != nil {
		return err
	}
	if !o.ignore {
		if err := cluster.CheckOwner(); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := release.Upgrade(ctx, env.Err, h, name, release.UpgradeOptions{Values: values, Reset: o.reset}); err != nil {
		return err
	}
	if o.wait {
		err := release.Wait(ctx, h.Client, cluster.Release, o.timeout, release.Progress(env.Err, began))
		if ctx.Err() != nil {
			fmt.Fprintf(env.Err, "Virtual cluster %s/%s is upgraded and still restarts.\n", cluster.Namespace, name)
		}
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(env.Err, "Virtual cluster %s/%s is upgraded after %.1f s.\n", cluster.Namespace, name, time.Since(began).Seconds())
	return nil
}
