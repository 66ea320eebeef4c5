// Package connect is the command "sublet connect".
package connect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sublet-dev/sublet/pkg/cli/connection"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/kubeconfig"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

// maxPort is the largest number of a port.
const maxPort = 65535

// options has the flags.
type options struct {
	connection.Options
	print, foreground bool
}

// Command returns the command.
func Command(env *host.Env) *cobra.Command {
	o := options{}
	cmd := &cobra.Command{
		Use:   "connect NAME [-- COMMAND [ARGS...]]",
		Short: "Use a virtual cluster with kubectl",
		Long: `Write a context for a virtual cluster into your kubeconfig, and make it the current one.

If the exported address of the virtual cluster does not answer here, a background process keeps a
tunnel through the host. The tunnel connects again after restarts of the control plane and after failures of
the network, and starts again if its process is killed. It ends once the context is gone.

With a command after "--", that command runs with KUBECONFIG set, and nothing is written. Its exit
code is the exit code of sublet.`,
		Example: `  sublet connect shop
  sublet connect shop -- kubectl get pods -A

  # A token of a service account of the virtual cluster, valid for ten minutes
  sublet connect shop --service-account kube-system/deployer --expiration 10m`,
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash == 1 && len(args) > 1 || dash < 0 && len(args) == 1 {
				return nil
			}
			return fault.New(fault.Usage, "sublet connect NAME, or sublet connect NAME -- COMMAND", "connect takes one name, and a command after --")
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), env, args[0], args[1:])
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.print, "print", false, "Print a kubeconfig to standard output instead. A tunnel stays open until Ctrl-C")
	flags.BoolVar(&o.foreground, "foreground", false, "Keep the tunnel in this process, and remove the context at its end")
	flags.IntVar(&o.Port, "port", 0, "Local port of the tunnel (default: any free one)")
	flags.StringVar(&o.ServiceAccount, "service-account", "", "Service account of the virtual cluster to get a token for, as NAMESPACE/NAME")
	flags.DurationVar(&o.Expiration, "expiration", time.Hour, "How long that token is valid, at least 10m")
	flags.StringVar(&o.ContextName, "context-name", "", "Name of the context (default: sublet_NAME_NAMESPACE_HOST)")
	flags.BoolVar(&o.KeepContext, "keep-context", false, "Leave the current context as it is")
	// --server is a flag of kubectl, and means the host.
	flags.StringVar(&o.Server, "virtual-server", "", "URL of the virtual API (default: the exported one if it answers, else a tunnel)")
	return cmd
}

// run writes a context, prints a kubeconfig, or runs the command.
func (o *options) run(ctx context.Context, env *host.Env, name string, command []string) error {
	if err := o.check(command); err != nil {
		return err
	}
	h, cluster, err := release.FindHost(ctx, env, name)
	if err != nil {
		return err
	}
	target := connection.New(env, h, name, o.Options)
	switch {
	case len(command) > 0:
		return runCommand(ctx, env, target, command)
	case o.print:
		return printConfig(ctx, env, target)
	case o.foreground:
		return serve(ctx, env, target)
	}
	context, server, err := target.Connect(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Err, "Context %s leads to %s/%s at %s.\n", context, cluster.Namespace, name, server)
	if !o.KeepContext {
		fmt.Fprintln(env.Err, "kubectl uses it now. Go back with: sublet disconnect")
	}
	return nil
}

// check fails for flags that exclude each other, and for addresses that nothing can have.
func (o *options) check(command []string) error {
	if o.print && (o.foreground || len(command) > 0) || o.foreground && len(command) > 0 {
		return fault.New(fault.Usage, "Use one of --print, --foreground and a command.", "--print, --foreground and a command exclude each other")
	}
	if o.Port < 0 || o.Port > maxPort {
		return fault.New(fault.Usage, "Use a number up to 65535, or leave it out for any free port.", "--port is %d", o.Port)
	}
	return connection.CheckServer(o.Server)
}

// runCommand runs a command with a kubeconfig of its own.
func runCommand(ctx context.Context, env *host.Env, target *connection.Target, command []string) error {
	local, err := target.Open(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sublet-*") // with mode 0700
	if err != nil {
		return fmt.Errorf("cannot create a folder for the kubeconfig: %w", err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "config")
	if err := clientcmd.WriteToFile(*local.Config, file); err != nil {
		return fmt.Errorf("cannot write the kubeconfig: %w", err)
	}
	stop := start(ctx, local)
	defer stop()
	// Ctrl-C reaches the command too. This process waits for its end.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, host.EndSignals()...)
	defer signal.Stop(interrupts)
	child := exec.Command(command[0], command[1:]...) //nolint:gosec,noctx // the user asks for it, and it ends by itself
	child.Stdin, child.Stdout, child.Stderr = env.In, env.Out, env.Err
	child.Env = append(os.Environ(), "KUBECONFIG="+file)
	if err := child.Start(); err != nil {
		return &fault.Error{Code: fault.NotFound, Message: "cannot run " + command[0], Hint: "Write the command with its path, or add its folder to PATH.", Cause: err}
	}
	go func() {
		for interrupt := range interrupts {
			if interrupt != os.Interrupt {
				_ = child.Process.Signal(interrupt)
			}
		}
	}()
	err = child.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return &fault.ExitError{Code: exitCode(exit)}
	}
	return err
}

// exitCode returns the exit code of a command as a shell shows it.
func exitCode(exit *exec.ExitError) int {
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

// start serves a tunnel until the function that it returns is called. It does not end with ctx,
// as the command may still need it.
func start(ctx context.Context, local *connection.Local) (stop func()) {
	if local.Serve == nil {
		return func() {}
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() { defer close(done); _ = local.Serve(serving) }()
	return func() { cancel(); <-done }
}

// printConfig prints a kubeconfig, and keeps its tunnel open.
func printConfig(ctx context.Context, env *host.Env, target *connection.Target) error {
	local, err := target.Open(ctx)
	if err != nil {
		return err
	}
	text, err := clientcmd.Write(*local.Config)
	if err != nil {
		return fmt.Errorf("cannot encode the kubeconfig: %w", err)
	}
	if _, err := env.Out.Write(text); err != nil {
		return fmt.Errorf("cannot print: %w", err)
	}
	if local.Serve == nil {
		return nil
	}
	fmt.Fprintln(env.Err, "The tunnel is open until Ctrl-C.")
	return local.Serve(ctx)
}

// serve writes a context, keeps the tunnel open, and removes the context at the end.
func serve(ctx context.Context, env *host.Env, target *connection.Target) error {
	name, local, err := target.OpenContext(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Err, "Context %s leads to %s/%s until Ctrl-C.\n", name, target.Release.Namespace, target.Release.Name)
	if local.Serve != nil {
		err = local.Serve(ctx)
	} else {
		<-ctx.Done()
	}
	_, removeErr := connection.Remove(context.WithoutCancel(ctx), env.Files(), func(other string, _ kubeconfig.Connection) bool { return other == name })
	return errors.Join(err, removeErr)
}

// Background returns the hidden command that serves a tunnel for "sublet connect".
func Background(env *host.Env) *cobra.Command {
	o, id, stage := connection.Options{}, "", ""
	cmd := &cobra.Command{
		Use: connection.ForwardVerb + " NAME", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			signal.Ignore(syscall.SIGHUP, syscall.SIGINT)
			h, err := env.HostOf(*env.Flags.Context)
			if err != nil {
				return reportFailure(env, err)
			}
			err = connection.New(env, h, args[0], o).ServeInBackground(cmd.Context(), id, stage, func(port int) {
				fmt.Fprintln(env.Out, port)
			})
			return reportFailure(env, err)
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "ID of the connection")
	cmd.Flags().StringVar(&stage, "stage", "", "Part of the tunnel that this process is")
	cmd.Flags().IntVar(&o.Port, "port", 0, "Local port")
	return cmd
}

// reportFailure prints an error to the process that waits for the port.
func reportFailure(env *host.Env, err error) error {
	if err != nil {
		fmt.Fprintln(env.Out, err)
	}
	return err
}
