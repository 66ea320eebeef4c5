// Command demo shows Sublet on a machine that has only Go. It starts a throw-away host
// with simulated nodes in this process, and installs the chart on it with its default
// values. The server is a process of its own.
//
// It shows the nodes of both sides and runs a Deployment in the virtual cluster. It
// prints the duration of each step and what to try, and stays until Ctrl-C. With --once
// it checks what it shows and ends: 0 if everything held.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/hostlab/sim"
	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
)

// The release of the demo.
const (
	release   = "demo"
	namespace = "tenant-demo"
	nodes     = 3
	replicas  = 3
)

// stepTimeout is far above what any step takes on a slow machine.
const stepTimeout = time.Minute

func main() {
	once := flag.Bool("once", false, "check what is shown, then end")
	chart := flag.String("chart", "chart", "folder of the chart")
	server := flag.String("server", filepath.Join("bin", "sublet-server"), "the server's binary")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, *once, tenant.Options{
		Chart: *chart, Server: *server, Release: release, Namespace: namespace,
	})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is what the steps build up.
type demo struct {
	out     io.Writer
	options tenant.Options
	dir     string

	host       *sim.Host
	release    *tenant.Release
	server     *tenant.Server
	virtual    kubernetes.Interface
	kubeconfig struct{ host, virtual string }
}

// step is one line of the demo. Its result is what there is to say about it.
type step struct {
	name string
	run  func(context.Context) (string, error)
}

func run(ctx context.Context, out io.Writer, once bool, o tenant.Options) error {
	dir, err := os.MkdirTemp("", "sublet-demo-")
	if err != nil {
		return fmt.Errorf("cannot make a temporary folder: %w", err)
	}
	d := &demo{out: out, options: o, dir: dir}
	defer d.close()
	log, err := os.Create(filepath.Join(dir, "host.log"))
	if err != nil {
		return fmt.Errorf("cannot make the host's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	if err := sim.LogTo(log); err != nil {
		return err
	}

	steps := []step{
		{"start a throw-away host", d.startHost},
		{"install the chart", d.install},
		{"start the virtual cluster", d.startServer},
		{"show the host's nodes as virtual nodes", d.showNodes},
		{"run a Deployment in the virtual cluster", d.deploy},
		{"show its pods on both sides", d.showPods},
	}
	if once {
		steps = append(steps, step{"delete the Deployment", d.remove})
	}
	begun := time.Now()
	for _, s := range steps {
		if err := d.runStep(ctx, s); err != nil {
			return err
		}
	}
	d.printf("\nAll of it took %s.\n", seconds(time.Since(begun)))
	if once {
		return nil
	}
	d.printHelp()
	select {
	case <-ctx.Done():
		d.printf("\nStopping.\n")
		return nil
	case <-d.server.Exited():
		return fmt.Errorf("the server has ended by itself, see %s", d.server.LogFile())
	}
}

func (d *demo) runStep(ctx context.Context, s step) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	begun := time.Now()
	result, err := s.run(ctx)
	if err != nil {
		return fmt.Errorf("cannot %s: %w", s.name, err)
	}
	d.printf("%8s  %s\n", seconds(time.Since(begun)), s.name)
	if result != "" {
		d.printf("%s", result)
	}
	return nil
}

// printf writes to the output. There is nowhere to report an error of that.
func (d *demo) printf(format string, arguments ...any) {
	_, _ = fmt.Fprintf(d.out, format, arguments...)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func (d *demo) startHost(ctx context.Context) (string, error) {
	host, err := sim.Start(ctx, sim.Options{Nodes: nodes, NodeCPU: "4", NodeMemory: "16Gi"})
	if err != nil {
		return "", err
	}
	d.host = host
	kubeconfig, err := host.Kubeconfig()
	if err != nil {
		return "", err
	}
	d.kubeconfig.host, err = d.writeFiles("host.kubeconfig", kubeconfig)
	return "", err
}

func (d *demo) install(ctx context.Context) (string, error) {
	r, err := tenant.Install(ctx, d.host, d.options)
	d.release = r
	return "", err
}

// startServer starts the process and takes its time to /readyz, as a pod's
// readiness probe would.
func (d *demo) startServer(ctx context.Context) (string, error) {
	server, err := d.release.Run(ctx, d.dir)
	if err != nil {
		return "", err
	}
	d.server = server
	if _, err := server.WaitReady(ctx); err != nil {
		return "", err
	}
	kubeconfig, err := server.Kubeconfig(ctx)
	if err != nil {
		return "", err
	}
	if d.kubeconfig.virtual, err = d.writeFiles("virtual.kubeconfig", kubeconfig); err != nil {
		return "", err
	}
	config, err := server.Config(ctx)
	if err != nil {
		return "", err
	}
	d.virtual, err = kubernetes.NewForConfig(config)
	return "", err
}

func (d *demo) writeFiles(name string, content []byte) (string, error) {
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return "", fmt.Errorf("cannot write %s: %w", name, err)
	}
	return path, nil
}

func (d *demo) printHelp() {
	d.printf(`
The virtual cluster, as its tenant sees it:

  export KUBECONFIG=%[1]s
  kubectl get nodes
  kubectl get pods --all-namespaces -o wide
  kubectl scale deployment web --replicas=10
  kubectl create namespace team-a

The host, as its operator sees it:

  kubectl --kubeconfig=%[2]s get pods -n %[3]s -o wide
  kubectl --kubeconfig=%[2]s label node sim-0001 color=blue   # and look at the virtual node

The nodes are simulated: pods run on paper only, without logs and without exec.
The server's log is %[4]s.
Ctrl-C ends it all and leaves nothing behind.
`, d.kubeconfig.virtual, d.kubeconfig.host, namespace, d.server.LogFile())
}

func (d *demo) close() {
	if d.server != nil {
		d.server.Stop()
	}
	if d.host != nil {
		d.host.Stop()
	}
	_ = os.RemoveAll(d.dir)
}
