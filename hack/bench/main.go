// Command bench measures Sublet and prints one line per figure:
//
//	bench NAME VALUE UNIT
//
// The host is simulated and runs in this process: a real API server, scheduler
// and controllers, with KWOK in the place of kubelets. So it measures Sublet and
// not how fast an image is pulled. The virtual cluster is the server's binary as a
// process of its own. It has the settings of the chart, the permissions of its
// ServiceAccount and TLS to the host. Both share the machine: on two cores each
// gets in the other's way, as on a busy node.
//
// Every figure is the median of several runs (-runs). figures.go lists what each
// one measures, and the limits that we set ourselves. A missed limit is printed to
// standard error and changes nothing else. The command reads /proc, which only
// Linux has.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sublet-dev/sublet/hostlab/sim"
	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
)

func main() {
	var o options
	flag.IntVar(&o.runs, "runs", 5, "runs of each figure; the median counts")
	flag.StringVar(&o.run, "run", "", "figures to measure, separated by commas; a prefix will do (default: all)")
	flag.StringVar(&o.tenant.Chart, "chart", "chart", "folder of the chart")
	flag.StringVar(&o.tenant.Server, "server", filepath.Join("bin", "sublet-server"), "the server's binary")
	flag.StringVar(&o.base.Chart, "base-chart", "", "folder of the chart of another build, to compare with (default: that of -chart)")
	flag.StringVar(&o.base.Server, "base-server", "", "the server's binary of another build, to compare with")
	flag.StringVar(&o.cli, "cli", filepath.Join("bin", "sublet"), "the command line's binary")
	flag.DurationVar(&o.idle, "idle", time.Minute, "how long an idle server is watched")
	flag.IntVar(&o.nodeImages, "node-images", 0, "images that each host node reports")
	flag.StringVar(&o.postgres, "postgres", "", "data source of a PostgreSQL server whose user may create databases, as postgres://USER:PASSWORD@HOST:PORT/")
	flag.StringVar(&o.mariadb, "mariadb", "", "data source of a MariaDB server whose user may create databases, as mysql://USER:PASSWORD@tcp(HOST:PORT)/")
	flooded := flag.String("flood", "", "flood the cluster of this kubeconfig, and measure nothing")
	flag.Parse()
	o.base.Chart = cmp.Or(o.base.Chart, o.tenant.Chart)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if *flooded != "" {
		err = flood(ctx, *flooded)
	} else {
		err = run(ctx, o, os.Stdout, os.Stderr)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	runs       int
	run        string
	idle       time.Duration
	nodeImages int
	cli        string
	postgres   string
	mariadb    string
	tenant     tenant.Options
	// base is another build, to compare with. Without a server, there is none.
	base tenant.Options
}

// group is a set of figures that come out of the same measurement.
type group struct {
	figures []string
	measure func(*bench, context.Context) error
}

// groups returns all groups in the order in which they run. Those with many nodes
// are the last, since they change the host.
func groups() []group {
	return slices.Concat([]group{
		{[]string{"binary", "image"}, (*bench).measureSize},
		{[]string{"cli_version", "cli_list_500"}, (*bench).measureCLI},
		{[]string{"start_ready", "start_first_pod"}, (*bench).measureStart},
		{[]string{"pod_down_p50", "pod_down_p99", "pod_up_p50", "pod_up_p99"}, (*bench).measurePods},
	}, storeGroups(), []group{
		{[]string{"store_move"}, (*bench).measureMove},
		{[]string{"ha_api_gap", "ha_sync_gap", "ha_write_p50", "ha_write_p99"}, (*bench).measureReplicas},
		{[]string{"burst_ratio", "burst_quota_ratio", "pod_cpu", "pod_host_requests", "burst_delete"}, (*bench).measureBurst},
		{[]string{"sched_ratio", "sched_ratio_bound", "sched_bound_p50", "sched_bound_p99", "sched_cpu", "sched_host_cpu"}, (*bench).measureSched},
		{[]string{"base_burst", "base_pod_cpu", "base_sched_burst", "base_sched_cpu"}, (*bench).measureCompared},
		{[]string{"neighbour_p50_ratio", "neighbour_p99_ratio"}, (*bench).measureNeighbour},
		{[]string{"idle_anon", "idle_cpu"}, (*bench).measureIdle},
		{[]string{"kinds_later_mb", "kinds_later_watches", "kinds_anon", "kinds_watches"}, (*bench).measureKinds},
		{[]string{"custom_sync_ratio", "custom_status_p50", "custom_status_p99"}, (*bench).measureCustom},
		{[]string{"custom_kind_mb", "custom_30_kinds_mb"}, (*bench).measureCustomKinds},
		{[]string{"memory_5000_secrets"}, (*bench).measureSecrets},
		{[]string{"nodes_all", "nodes_anon", "nodes_idle_cpu", "node_lag_p99", "node_lag_overlaid_p99"}, (*bench).measureNodes},
		{[]string{"sched_foreign_pod"}, (*bench).measureForeign},
	})
}

// bench holds what the measurements share and what they have found.
type bench struct {
	options
	progress io.Writer
	dir      string
	host     *sim.Host
	releases int
	values   map[string][]float64
}

func run(ctx context.Context, o options, out, progress io.Writer) error {
	dir, err := os.MkdirTemp("", "sublet-bench-")
	if err != nil {
		return fmt.Errorf("cannot create a temporary folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	log, err := os.Create(filepath.Join(dir, "host.log"))
	if err != nil {
		return fmt.Errorf("cannot create the host's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	if err := sim.LogTo(log); err != nil {
		return err
	}

	b := &bench{options: o, progress: progress, dir: dir, values: map[string][]float64{}}
	if b.host, err = sim.Start(ctx, sim.Options{Nodes: hostNodes, NodeImages: o.nodeImages}); err != nil {
		return err
	}
	defer b.host.Stop()
	for _, g := range groups() {
		if !slices.ContainsFunc(g.figures, b.wanted) {
			continue
		}
		begun := time.Now()
		b.progressf("%s ...", strings.Join(g.figures, ", "))
		if err := g.measure(b, ctx); err != nil {
			return fmt.Errorf("cannot measure %s: %w", strings.Join(g.figures, ", "), err)
		}
		b.progressf("  took %.0f s", time.Since(begun).Seconds())
		b.print(out, g.figures)
	}
	return nil
}

// wanted reports whether the figure is among those asked for.
func (b *bench) wanted(figure string) bool {
	return b.run == "" || slices.ContainsFunc(strings.Split(b.run, ","), func(prefix string) bool {
		return strings.HasPrefix(figure, strings.TrimSpace(prefix))
	})
}

// progressf prints the progress.
func (b *bench) progressf(format string, arguments ...any) {
	_, _ = fmt.Fprintf(b.progress, format+"\n", arguments...)
}

// add records one run's value of a figure, unless the name is empty.
func (b *bench) add(figure string, value float64) {
	if figure == "" {
		return
	}
	b.values[figure] = append(b.values[figure], value)
}

// print prints the medians and complains about what misses its limit.
func (b *bench) print(out io.Writer, names []string) {
	for _, name := range names {
		f, values := figures()[name], b.values[name]
		if len(values) == 0 || !b.wanted(name) {
			continue
		}
		value := median(values)
		_, _ = fmt.Fprintf(out, "bench %s %s %s\n", name, format(value), f.unit)
		if value < f.least {
			b.progressf("  MISSED: %s is %s %s, it should be %s at least; runs: %s", name, format(value), f.unit, format(f.least), formatAll(values))
		}
		if f.limit > 0 && value > f.limit {
			b.progressf("  MISSED: %s is %s %s, the limit is %s; runs: %s", name, format(value), f.unit, format(f.limit), formatAll(values))
		}
	}
}

// install installs the chart of a build once more, in a namespace of its own, so that every
// start begins with nothing.
func (b *bench) install(ctx context.Context, o tenant.Options, values map[string]any) (*tenant.Release, error) {
	b.releases++
	o.Values = values
	o.Release, o.Namespace = "bench", fmt.Sprintf("bench-%d", b.releases)
	return tenant.Install(ctx, b.host, o)
}
