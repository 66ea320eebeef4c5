// Command hostctl starts and stops the host cluster that end-to-end tests use:
//
//	hostctl up|down|status [--provider local|kind|existing] [--dir DIR] [--dual-stack]
//	hostctl load-image FILE
//	hostctl build-software
//
// Package hostlab describes the parts of such a host.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sublet-dev/sublet/hostlab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := newCommand(os.Stdout).ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "hostctl: %v\n", err)
		os.Exit(1)
	}
}

func newCommand(out io.Writer) *cobra.Command {
	options := hostlab.Options{Out: out}
	// withHost passes the host that the flags describe.
	withHost := func(run func(ctx context.Context, host *hostlab.Host, args []string) error) func(*cobra.Command, []string) error {
		return func(c *cobra.Command, args []string) error {
			host, err := hostlab.New(options)
			if err != nil {
				return err
			}
			return run(c.Context(), host, args)
		}
	}
	root := &cobra.Command{
		Use:           "hostctl",
		Short:         "Start and stop the host cluster that end-to-end tests use",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(out)
	flags := root.PersistentFlags()
	flags.StringVar(&options.Provider, "provider", "local", "local (a real node on this machine, as root), kind or existing")
	flags.StringVar(&options.Dir, "dir", hostlab.DefaultDir(), "folder of all files of the host")
	flags.StringVar(&options.Kubeconfig, "kubeconfig", "", "kubeconfig of provider existing (default: kubectl's)")
	flags.BoolVar(&options.DualStack, "dual-stack", false, "give a new local host IPv6 in addition to IPv4")
	root.AddCommand(
		&cobra.Command{
			Use: "up", Short: "Start the parts of the host that do not run", Args: cobra.NoArgs,
			RunE: withHost(func(ctx context.Context, host *hostlab.Host, _ []string) error { return up(ctx, host, out) }),
		},
		&cobra.Command{
			Use: "down", Short: "Stop the host and undo its changes; the binaries stay", Args: cobra.NoArgs,
			RunE: withHost(func(ctx context.Context, host *hostlab.Host, _ []string) error { return host.Down(ctx) }),
		},
		&cobra.Command{
			Use: "status", Short: "Show which parts of the host run", Args: cobra.NoArgs,
			RunE: withHost(func(ctx context.Context, host *hostlab.Host, _ []string) error {
				running, err := host.Status(ctx)
				if err == nil && !running {
					err = errors.New("the host is not up")
				}
				return err
			}),
		},
		&cobra.Command{
			Use: "load-image FILE", Short: "Load the images of an archive into the host's nodes", Args: cobra.ExactArgs(1),
			RunE: withHost(func(ctx context.Context, host *hostlab.Host, args []string) error {
				if err := host.LoadImage(ctx, args[0]); err != nil {
					return err
				}
				_, err := fmt.Fprintf(out, "loaded %s\n", args[0])
				return err
			}),
		},
		&cobra.Command{
			Use: "build-software", Short: "Build the software of others that tests run on the host", Args: cobra.NoArgs,
			RunE: withHost(func(ctx context.Context, host *hostlab.Host, _ []string) error { return host.BuildSoftware(ctx) }),
		},
	)
	return root
}

// up starts the host and prints how to reach it.
func up(ctx context.Context, host *hostlab.Host, out io.Writer) error {
	cluster, err := host.Up(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\n  API server  %s\n  images      %s, %s\n\n  export KUBECONFIG=%s\n",
		cluster.Server, cluster.TestImage, cluster.BusyboxImage, cluster.Kubeconfig)
	return err
}
