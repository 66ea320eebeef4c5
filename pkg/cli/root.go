// Package cli is the command line of Sublet: its commands, and how it ends.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	runtimedebug "runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sublet-dev/sublet/pkg/cli/check"
	"github.com/sublet-dev/sublet/pkg/cli/connect"
	"github.com/sublet-dev/sublet/pkg/cli/create"
	"github.com/sublet-dev/sublet/pkg/cli/debug"
	deleteverb "github.com/sublet-dev/sublet/pkg/cli/delete"
	"github.com/sublet-dev/sublet/pkg/cli/describe"
	"github.com/sublet-dev/sublet/pkg/cli/disconnect"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/kubeconfigprint"
	"github.com/sublet-dev/sublet/pkg/cli/list"
	"github.com/sublet-dev/sublet/pkg/cli/logs"
	"github.com/sublet-dev/sublet/pkg/cli/patchtest"
	"github.com/sublet-dev/sublet/pkg/cli/release"
	"github.com/sublet-dev/sublet/pkg/cli/top"
	"github.com/sublet-dev/sublet/pkg/cli/upgrade"
	versionverb "github.com/sublet-dev/sublet/pkg/cli/version"
)

// version is set by the linker. "go install" leaves it empty.
var version string

// builtVersion returns the version of this program: that of the linker, or else that of the module.
func builtVersion() string {
	if info, ok := runtimedebug.ReadBuildInfo(); ok && version == "" && strings.HasPrefix(info.Main.Version, "v") {
		return info.Main.Version
	}
	return cmp.Or(version, "v0.0.0")
}

// Run runs the command line with the arguments of the process, and returns the exit code.
func Run() int {
	ctx, stop := signal.NotifyContext(context.Background(), host.EndSignals()...)
	defer stop()
	context.AfterFunc(ctx, stop) // A second Ctrl-C ends the process at once.
	catchHangups()
	release.ShareFieldsWithHelm()
	env := &host.Env{
		Flags: genericclioptions.NewConfigFlags(true), In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Version: builtVersion(),
		IsTerminal: term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd())),
		ShowsOut:   term.IsTerminal(int(os.Stdout.Fd())),
	}
	env.Colours = env.ShowsOut && os.Getenv("NO_COLOR") == ""
	return Execute(ctx, env, filepath.Base(os.Args[0]), os.Args[1:])
}

// catchHangups keeps a further SIGHUP from ending the process before it has cleaned up. A closed terminal causes two: of
// its shell, and of the kernel once that has ended.
func catchHangups() {
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
}

// kubectlCompleter is the name by which kubectl runs this program to complete arguments of "kubectl sublet".
const kubectlCompleter = "kubectl_complete-sublet"

// Execute runs one command and returns its exit code. program is the name that it was called by.
func Execute(ctx context.Context, env *host.Env, program string, args []string) int {
	root := Command(env, program)
	if program == kubectlCompleter {
		args = append([]string{cobra.ShellCompRequestCmd}, args...)
	}
	root.SetArgs(args)
	root.SetIn(env.In)
	root.SetErr(env.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	return report(env.Err, err, ctx.Err() != nil)
}

// report prints an error with its hint, and returns the exit code. Whatever fails after Ctrl-C, as a plugin that got
// it too, is interrupted.
func report(out io.Writer, err error, interrupted bool) int {
	code, hint := fault.Classify(err)
	if exit := (*fault.ExitError)(nil); errors.As(err, &exit) {
		return code
	}
	if code == fault.Interrupted || interrupted {
		if code != fault.Interrupted {
			fmt.Fprintf(out, "error: %s\n", strings.TrimSpace(err.Error()))
		}
		fmt.Fprintln(out, "interrupted")
		return fault.Interrupted
	}
	fmt.Fprintf(out, "error: %s\n", strings.TrimSpace(err.Error()))
	if hint != "" {
		fmt.Fprintf(out, "hint: %s\n", hint)
	}
	return code
}

// Command returns the root command. Called as kubectl-sublet, it shows itself as "kubectl sublet".
func Command(env *host.Env, program string) *cobra.Command {
	root := &cobra.Command{
		SuggestionsMinimumDistance: 2,
		Use:                        "sublet",
		Short:                      "Virtual Kubernetes clusters inside yours",
		Long: `Virtual Kubernetes clusters inside yours: create them, connect to them, and see what they use.

The flags that choose a cluster are those of kubectl, as is the kubeconfig. After "sublet connect", commands
still work on the host of the virtual cluster. Tables have colours on a terminal, unless NO_COLOR is set.`,
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
		PersistentPreRun: func(cmd *cobra.Command, _ []string) { env.HostFlags = hostFlags(cmd) },
	}
	if strings.HasPrefix(program, "kubectl-") {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl sublet"}
	}
	env.Flags.AddFlags(root.PersistentFlags())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &fault.Error{Code: fault.Usage, Message: err.Error(), Hint: "See the flags with: " + cmd.CommandPath() + " --help"}
	})
	root.AddCommand(
		check.Command(env), create.Command(env), connect.Command(env), connect.Background(env), disconnect.Command(env), list.Command(env), top.Command(env), upgrade.Command(env),
		describe.Command(env), logs.Command(env), debug.Command(env), patchtest.Command(env),
		deleteverb.Command(env), kubeconfigprint.Command(env), versionverb.Command(env),
	)
	root.SetOut(env.Out) // before the completion command, which keeps it
	refuseUnknownNames(root)
	for _, cmd := range root.Commands() {
		explainArguments(cmd)
		for _, inner := range cmd.Commands() {
			explainArguments(inner)
		}
	}
	addCompletion(env, root)
	return root
}

// unknownCommand returns the error for a command that does not exist.
func unknownCommand(root *cobra.Command, name string) error {
	hint := "See the commands with: " + root.CommandPath() + " --help"
	if similar := root.SuggestionsFor(name); len(similar) > 0 {
		hint = "Did you mean: " + strings.Join(similar, ", ")
	}
	return fault.New(fault.Usage, hint, "unknown command %q", name)
}

// refuseUnknownNames adds the commands of cobra, and makes unknown shells and unknown commands an error there too.
func refuseUnknownNames(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "completion":
			cmd.Args = cobra.ArbitraryArgs
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				if len(args) == 0 {
					return cmd.Help()
				}
				shells := []string{}
				for _, shell := range cmd.Commands() {
					shells = append(shells, shell.Name())
				}
				return fault.New(fault.Usage, "Use one of: "+strings.Join(shells, ", "), "there is no completion for the shell %q", args[0])
			}
		case "help":
			show := cmd.Run
			cmd.Run, cmd.RunE = nil, func(cmd *cobra.Command, args []string) error {
				if found, _, err := root.Find(args); len(args) > 0 && (err != nil || found == root) {
					return unknownCommand(root, args[0])
				}
				show(cmd, args)
				return nil
			}
		}
	}
}

// explainArguments gives errors about arguments a code and a hint.
func explainArguments(cmd *cobra.Command) {
	check := cmd.Args
	if check == nil {
		return
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if known := (*fault.Error)(nil); err == nil || errors.As(err, &known) {
			return err
		}
		return &fault.Error{Code: fault.Usage, Message: err.Error(), Hint: "Usage: " + cmd.UseLine()}
	}
}

// hostFlags returns the flags of kubectl that the user gave, without context and namespace.
func hostFlags(cmd *cobra.Command) []string {
	known := pflag.NewFlagSet("", pflag.ContinueOnError)
	genericclioptions.NewConfigFlags(false).AddFlags(known)
	flags := []string{}
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		if known.Lookup(flag.Name) == nil || flag.Name == "context" || flag.Name == "namespace" {
			return
		}
		if values, ok := flag.Value.(pflag.SliceValue); ok {
			for _, value := range values.GetSlice() {
				flags = append(flags, "--"+flag.Name+"="+value)
			}
			return
		}
		flags = append(flags, "--"+flag.Name+"="+flag.Value.String())
	})
	return flags
}
