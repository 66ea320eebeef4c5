// Command conformance runs the conformance suite of Kubernetes against the host and
// against a virtual cluster on it, and prints a table of both:
//
//	conformance [--target host|virtual|both] [--focus REGEXP] [--serial] [--scheduler] [--keep]
//	conformance --bounded
//	conformance --table
//
// With --bounded it runs a few specs of each SIG and fails if one of them does not pass.
// The host must be up and have the image of Sublet. Each run adds its results to
// those of earlier runs in --dir, so that a run may be done in pieces.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sublet-dev/sublet/hostlab"
	"github.com/sublet-dev/sublet/hostlab/conformance"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "conformance: %v\n", err)
		os.Exit(1)
	}
}

// Targets of a run.
const (
	host    = "host"
	virtual = "virtual"
)

// flags are the flags of the command.
type flags struct {
	target, dir            string
	table, keep, buildOnly bool
	bounded                bool
	options                conformance.Options
	virtual                conformance.Virtual
}

func parse(args []string) (flags, error) {
	f := flags{}
	set := flag.NewFlagSet("conformance", flag.ContinueOnError)
	set.StringVar(&f.target, "target", "both", "host, virtual or both")
	set.StringVar(&f.dir, "dir", filepath.Join("out", "conformance"), "folder of the suite and of the results")
	set.BoolVar(&f.table, "table", false, "only print the results of earlier runs")
	set.BoolVar(&f.bounded, "bounded", false, "run a few specs of each SIG, each of which must pass")
	set.BoolVar(&f.keep, "keep", false, "leave the virtual cluster installed")
	set.BoolVar(&f.buildOnly, "build-only", false, "only build the suite and the images")
	set.StringVar(&f.options.Focus, "focus", "", "run only specs whose name matches this regular expression")
	set.StringVar(&f.options.Skip, "skip", "", "leave out specs whose name matches this regular expression")
	set.BoolVar(&f.options.Serial, "serial", false, "run the serial specs")
	set.IntVar(&f.options.Processes, "procs", 12, "specs that run at the same time")
	set.DurationVar(&f.options.Timeout, "timeout", time.Hour, "limit of one target's run")
	set.BoolVar(&f.virtual.Scheduler, "scheduler", false, "run the virtual scheduler")
	set.StringVar(&f.virtual.Kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "kubeconfig of the host")
	set.StringVar(&f.virtual.Kubectl, "kubectl", "kubectl", "kubectl of the host's version")
	set.StringVar(&f.virtual.Helm, "helm", filepath.Join("bin", "helm"), "helm")
	set.StringVar(&f.virtual.Chart, "chart", "chart", "folder of the chart")
	err := set.Parse(args)
	if err == nil && f.bounded {
		if f.options.Serial || f.options.Focus != "" {
			return f, errors.New("--bounded chooses the specs: it cannot be used with --serial or --focus")
		}
		f.options.Focus = conformance.FocusOn(conformance.Bounded())
	}
	return f, err
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f, err := parse(args)
	if err != nil {
		return err
	}
	f.options.Log, f.options.Kubectl = out, f.virtual.Kubectl
	suite, err := conformance.New(ctx, f.dir)
	if err != nil {
		return err
	}
	if f.table {
		return printTable(suite, out)
	}
	if err := suite.Build(ctx); err != nil {
		return err
	}
	archive, err := suite.BuildImages(ctx)
	if err != nil || f.buildOnly {
		return err
	}
	if err := loadImages(ctx, archive); err != nil {
		return err
	}
	if f.target != virtual {
		if err := f.test(ctx, suite, host, f.virtual.Kubeconfig); err != nil {
			return err
		}
	}
	if f.target != host {
		if err := f.testVirtual(ctx, suite, out); err != nil {
			return err
		}
	}
	return printTable(suite, out)
}

// loadImages loads the images of the suite into the host's nodes.
func loadImages(ctx context.Context, archive string) error {
	lab, err := hostlab.New(hostlab.Options{})
	if err != nil {
		return err
	}
	return lab.LoadImage(ctx, archive)
}

// testVirtual installs a virtual cluster, tests it and removes it.
func (f flags) testVirtual(ctx context.Context, suite *conformance.Suite, out io.Writer) (err error) {
	if !f.keep {
		defer func() { err = errors.Join(err, suite.Uninstall(context.WithoutCancel(ctx), f.virtual)) }()
	}
	kubeconfig, err := suite.Install(ctx, f.virtual)
	if err != nil {
		return err
	}
	watched, stop := context.WithCancel(ctx)
	peak := make(chan uint64)
	go func() { peak <- f.virtual.WatchMemory(watched) }()
	err = f.test(ctx, suite, virtual, kubeconfig)
	stop()
	_, printErr := fmt.Fprintf(out, "\nanonymous memory of the control plane, peak: %d MB\n\n", <-peak/1_000_000)
	return errors.Join(err, printErr)
}

// test runs the specs against a target and stores the results. It returns an error for a
// spec of the bounded form that did not pass.
func (f flags) test(ctx context.Context, suite *conformance.Suite, target, kubeconfig string) error {
	results, err := suite.Run(ctx, kubeconfig, f.options)
	if err = errors.Join(err, suite.Store(target, results)); err != nil || !f.bounded {
		return err
	}
	if err := results.CheckPassed(conformance.Bounded()); err != nil {
		return fmt.Errorf("on the target %s, %w", target, err)
	}
	return nil
}

// printTable prints the results of all runs.
func printTable(suite *conformance.Suite, out io.Writer) error {
	onHost, err := suite.Load(host)
	if err != nil {
		return err
	}
	onVirtual, err := suite.Load(virtual)
	if err != nil {
		return err
	}
	return conformance.WriteTable(out, onHost, onVirtual)
}
