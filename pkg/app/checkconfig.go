package app

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/app/patches"
	"github.com/sublet-dev/sublet/pkg/config"
	"github.com/sublet-dev/sublet/pkg/controlplane/audit"
	"github.com/sublet-dev/sublet/pkg/controlplane/authentication"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
	"github.com/sublet-dev/sublet/pkg/virtualscheduler"
)

// checkConfigCommand returns the command that validates a config file without a host. The chart
// runs it before an install or upgrade, because Helm cannot compile CEL expressions.
func checkConfigCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "check-config",
		Short: "Check a file with the values of a release, and compile what is in it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			values, err := config.Load(file, kinds.Settings()...)
			if err != nil {
				return err
			}
			if err := compileConfig(values); err != nil {
				return fmt.Errorf("cannot use the configuration %s: %w", file, err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), "The configuration has no problems.")
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "config", "/etc/sublet/config.yaml", "file with the values of the release")
	return cmd
}

// compileConfig compiles everything in the config that the server compiles at startup. It
// returns all errors.
func compileConfig(values *v1alpha1.Config) error {
	advanced := values.ControlPlane.Advanced
	_, patchErr := patches.New(&values.Sync)
	issuers := authentication.Check(advanced.Authentication, tokens(values).Issuers(values.Networking.Advanced.ClusterDomain))
	errs := []error{
		patchErr,
		checkSelectors(&values.Sync),
		issuers.ToAggregate(),
		audit.Check(advanced.Audit),
	}
	if advanced.VirtualScheduler.Enabled {
		err := virtualscheduler.CheckConfig(advanced.VirtualScheduler.Config, values.Sync.ToHost.Pods.HybridScheduling.HostSchedulers)
		if err != nil {
			errs = append(errs, fmt.Errorf("controlPlane.advanced.virtualScheduler.config: %w", err))
		}
	}
	return errors.Join(errs...)
}
