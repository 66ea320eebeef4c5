// Command demo shows Sublet on a machine that has only Go. It starts a throw-away host
// with simulated nodes in this process. It uses the command line on it as everybody does: "sublet
// create" and "sublet connect". No container can run there, so the server is a process of its own.
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
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sublet-dev/sublet/hostlab/sim"
	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
)

// The release of the demo.
const (
	release   = "demo"
	namespace = "tenant-demo"
	nodes     = 3
	replicas  = 3
	// hostContext is the context of the host in its kubeconfig.
	hostContext = "sim"
)

// stepTimeout is far above what any step takes on a slow machine.
const stepTimeout = time.Minute

func main() {
	once := flag.Bool("once", false, "check what is shown, then end")
	sublet := flag.String("sublet", filepath.Join("bin", "sublet"), "the binary of the command line")
	server := flag.String("server", filepath.Join("bin", "sublet-server"), "the server's binary")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, options{once: *once, sublet: *sublet, server: *server})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	// once ends the demo after its checks.
	once bool
	// sublet and server are the paths of the binaries.
	sublet, server string
}

// demo is what the steps build up.
type demo struct {
	out     io.Writer
	options options
	dir     string
	// kubeconfig is the file that the command line uses. It begins with a context of the host.
	kubeconfig string
	// port serves the virtual API on this machine.
	port string

	host    *sim.Host
	server  *tenant.Server
	virtual kubernetes.Interface
}

// step is one line of the demo. The text that run returns is printed below its name.
type step struct {
	name string
	run  func(context.Context) (string, error)
}

func run(ctx context.Context, out io.Writer, o options) error {
	dir, err := os.MkdirTemp("", "sublet-demo-")
	if err != nil {
		return fmt.Errorf("cannot create a temporary folder: %w", err)
	}
	d := &demo{out: out, options: o, dir: dir}
	defer d.cleanUp()
	log, err := os.Create(filepath.Join(dir, "host.log"))
	if err != nil {
		return fmt.Errorf("cannot create the host's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	if err := sim.LogTo(log); err != nil {
		return err
	}

	steps := []step{
		{"start a throw-away host", d.startHost},
		{"create a virtual cluster: sublet create " + release, d.create},
		{"start its control plane", d.startServer},
		{"use it with kubectl: sublet connect " + release, d.connect},
		{"show the host's nodes as virtual nodes", d.showNodes},
		{"run a Deployment in the virtual cluster", d.deploy},
		{"show its pods on both sides", d.showPods},
	}
	if o.once {
		steps = append(steps, step{"delete the Deployment", d.deleteDeployment})
	}
	begun := time.Now()
	for _, s := range steps {
		if err := d.runStep(ctx, s); err != nil {
			return err
		}
	}
	d.printf("\nAll of it took %s.\n", seconds(time.Since(begun)))
	if o.once {
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
	d.kubeconfig = filepath.Join(d.dir, "kubeconfig")
	if err := os.WriteFile(d.kubeconfig, kubeconfig, 0o600); err != nil {
		return "", fmt.Errorf("cannot write the kubeconfig: %w", err)
	}
	return "", nil
}

// create creates the virtual cluster. The host runs its pod on paper only, so there is nothing to
// wait for.
func (d *demo) create(ctx context.Context) (string, error) {
	port, err := tenant.ReservePort()
	if err != nil {
		return "", err
	}
	d.port = port
	return d.sublet(ctx, "create", release, "--namespace", namespace, "--wait=false",
		"--set", "exportKubeConfig.server=https://127.0.0.1:"+port)
}

// startServer starts the process in place of the pod and takes its time to /readyz, as a pod's
// readiness probe would.
func (d *demo) startServer(ctx context.Context) (string, error) {
	installed, err := tenant.Open(ctx, d.host, tenant.Options{Server: d.options.server, Release: release, Namespace: namespace})
	if err != nil {
		return "", err
	}
	if d.server, err = installed.RunAt(ctx, d.dir, d.port); err != nil {
		return "", err
	}
	if _, err := d.server.WaitReady(ctx); err != nil {
		return "", err
	}
	_, err = d.server.Kubeconfig(ctx)
	return "", err
}

// connect writes a context of the virtual cluster into the kubeconfig, and uses it.
func (d *demo) connect(ctx context.Context) (string, error) {
	said, err := d.sublet(ctx, "connect", release, "--namespace", namespace)
	if err != nil {
		return "", err
	}
	config, err := clientcmd.BuildConfigFromFlags("", d.kubeconfig)
	if err != nil {
		return "", fmt.Errorf("cannot use the kubeconfig: %w", err)
	}
	config.QPS, config.Burst = -1, -1
	d.virtual, err = kubernetes.NewForConfig(config)
	return said, err
}

// sublet runs the command line with the kubeconfig of the demo, and returns what it prints.
func (d *demo) sublet(ctx context.Context, arguments ...string) (string, error) {
	command := exec.CommandContext(ctx, d.options.sublet, arguments...)
	command.Env = append(os.Environ(), "KUBECONFIG="+d.kubeconfig)
	output, err := command.CombinedOutput()
	said := strings.TrimSpace(string(output))
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, said)
	}
	return "          " + strings.ReplaceAll(said, "\n", "\n          ") + "\n", nil
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

  kubectl --context=%[2]s get pods -n %[3]s -o wide
  kubectl --context=%[2]s label node sim-0001 color=blue   # and look at the virtual node
  %[5]s list

The nodes are simulated: pods run on paper only, without logs and without exec.
The server's log is %[4]s.
Ctrl-C ends it all and leaves nothing behind.
`, d.kubeconfig, hostContext, namespace, d.server.LogFile(), d.options.sublet)
}

func (d *demo) cleanUp() {
	if d.server != nil {
		d.server.Stop()
	}
	if d.host != nil {
		d.host.Stop()
	}
	_ = os.RemoveAll(d.dir)
}
