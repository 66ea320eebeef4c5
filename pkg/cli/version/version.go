// Package version is the command "sublet version".
package version

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/sublet-dev/sublet/pkg/cli/host"
)

// Command returns the command.
func Command(env *host.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Long:  `Print the version of this program. It sends no request. "sublet list" prints those of virtual clusters.`,
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(env.Out, "sublet %s %s/%s\n", env.Version, runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
