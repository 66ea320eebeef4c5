// Command hostctl starts and stops the host cluster that end-to-end tests use:
//
//	hostctl up|down|status [--provider local|kind|existing] [--dir DIR]
//	hostctl load-image FILE
//
// Package hostlab says what such a host is made of.
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
	options := host.Options{Out: out}
	root := &cobra.Command{
		Use:           "hostctl",
		Short:         "Start and stop the host cluster that end-to-end tests use",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(out)
	flags := root.PersistentFlags()
	flags.StringVar(&options.Provider, "provider", "local", "local (a real node on this machine, as root), kind or existing")
	flags.StringVar(&options.Dir, "dir", host.DefaultDir(), "folder of everything the host is made of")
	flags.StringVar(&options.Kubeconfig, "kubeconfig", "", "kubeconfig of provider existing (default: kubectl's)")
	root.AddCommand(
		&cobra.Command{
			Use: "up", Short: "Start the host, or whatever of it does not run", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error {
				cluster, err := host.Up(c.Context(), options)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(out, "\n  API server  %s\n  images      %s, %s\n\n  export KUBECONFIG=%s\n",
					cluster.Server, cluster.TestImage, cluster.BusyboxImage, cluster.Kubeconfig)
				return err
			},
		},
		&cobra.Command{
			Use: "down", Short: "Stop the host and remove what it left; the binaries stay", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error { return host.Down(c.Context(), options) },
		},
		&cobra.Command{
			Use: "status", Short: "Say what of the host runs", Args: cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error {
				up, err := host.Status(c.Context(), options)
				if err == nil && !up {
					err = errors.New("the host is not up")
				}
				return err
			},
		},
		&cobra.Command{
			Use: "load-image FILE", Short: "Give the images of an archive to the host's nodes", Args: cobra.ExactArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				if err := host.LoadImage(c.Context(), options, args[0]); err != nil {
					return err
				}
				_, err := fmt.Fprintf(out, "loaded %s\n", args[0])
				return err
			},
		},
	)
	return root
}
