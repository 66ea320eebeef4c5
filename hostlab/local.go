package hostlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Folders in which the kernel shows what the host changes of the machine.
const (
	cgroupRoot = "/sys/fs/cgroup"
	sysctlRoot = "/proc/sys"
)

// local is a real node on this machine.
type local struct {
	dir     string
	steps   *steps
	daemons daemons
	pki     credentials
	// dualStack specifies whether the host has IPv6 in addition to IPv4.
	dualStack bool
}

func newLocal(dir string, steps *steps, dualStack bool) *local {
	return &local{
		dir: dir, steps: steps, daemons: daemonsIn(dir), dualStack: dualStack,
		pki: credentials{dir: filepath.Join(dir, "pki"), now: time.Now()},
	}
}

func daemonsIn(dir string) daemons {
	return daemons{run: filepath.Join(dir, "run"), log: filepath.Join(dir, "log")}
}

func (l *local) path(parts ...string) string {
	return filepath.Join(append([]string{l.dir}, parts...)...)
}

func (l *local) binary(name string) string { return l.path("bin", name) }

// environment returns the environment of a daemon, with our programs first. It has no
// variable of the caller, because proxy settings would break the host.
func (l *local) environment() []string {
	return []string{"PATH=" + l.path("bin") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
}

// prepare creates the folders and takes the lock. The lock ends with the process, or when unlock
// is called.
func (l *local) prepare() (unlock func(), err error) {
	if err := checkRoot(); err != nil {
		return nil, err
	}
	// A path of a Unix socket has room for 107 bytes.
	if len(l.containerdSocket()) > 107 || strings.HasPrefix(l.dir+"/", "/run/") {
		return nil, fmt.Errorf("the folder %s cannot hold a host: take a shorter path, and none below /run", l.dir)
	}
	for _, dir := range []string{l.daemons.run, l.daemons.log, l.path("state")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	lock, err := os.OpenFile(l.path("lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot lock %s: %w", l.dir, err), lock.Close())
	}
	return func() { _ = lock.Close() }, nil
}

func (l *local) up(ctx context.Context) (*Cluster, error) {
	start := time.Now()
	unlock, err := l.prepare()
	if err != nil {
		return nil, err
	}
	defer unlock()
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"room for a host", l.checkAlone},
		{"packages of Debian", func() error { return InstallPackages(ctx, packages()...) }},
		{"", func() error { return l.build(ctx) }},
		{"what an earlier host left", func() error { return l.removeLeftovers(ctx) }},
		{"address families", l.chooseFamilies},
		{"namespaces, cgroups, network", func() error { return l.setUpNamespaces(ctx) }},
		{"certificates", l.pki.create},
		{"start etcd, API server, containerd, registry", l.startFirst},
		{"images", func() error { return l.loadOwnImages(ctx) }},
		{"API server ready", func() error { return l.awaitAPI(ctx) }},
		{"start the node and the control loops", func() error { return l.startRest(ctx) }},
		{"node, DNS and metrics ready", func() error { return l.awaitNode(ctx) }},
	} {
		do := func() error { return l.steps.run(step.name, step.do) }
		if step.name == "" { // prints steps of its own
			do = step.do
		}
		if err := do(); err != nil {
			return nil, fmt.Errorf("cannot start the host: %s: %w", step.name, err)
		}
	}
	kubeconfig, err := l.writeKubeconfig()
	if err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintf(l.steps.out, "host: up after %.1f s\n", time.Since(start).Seconds())
	return &Cluster{
		Kubeconfig: kubeconfig, Server: apiServer, NodeIP: nodeIP, Kubectl: l.binary("kubectl"),
		TestImage: TestImage, BusyboxImage: BusyboxImage,
	}, nil
}

func (l *local) checkAlone() error {
	if other := l.otherHost(); other != "" {
		return fmt.Errorf("this machine runs a host already, in %s: stop it first with hostctl down --dir %s", other, other)
	}
	return nil
}

// writeKubeconfig copies the admin's kubeconfig to where people look for it.
func (l *local) writeKubeconfig() (string, error) {
	admin, err := os.ReadFile(l.pki.kubeconfig("admin"))
	if err != nil {
		return "", err
	}
	file := l.path("kubeconfig")
	return file, os.WriteFile(file, admin, 0o600)
}

// removeLeftovers removes what is left of a host whose holder has ended. New namespaces
// replace those of its daemons, so none of the daemons can be kept.
func (l *local) removeLeftovers(ctx context.Context) error {
	if _, ok := l.daemons.readPIDFile("holder"); ok {
		return nil
	}
	if err := l.removeAll(ctx); err != nil {
		return err
	}
	logs, err := filepath.Glob(l.daemons.logFile("*"))
	for _, file := range logs {
		err = errors.Join(err, os.Remove(file))
	}
	return err
}

func (l *local) setUpNamespaces(ctx context.Context) error {
	if err := l.startHolder(ctx); err != nil {
		return err
	}
	if err := l.connectNode(ctx); err != nil {
		return err
	}
	if err := makeCgroups(cgroupRoot); err != nil {
		return err
	}
	return saveSysctls(sysctlRoot, l.path("state", "sysctls"))
}

// startFirst starts the daemons that need no other daemon, all at once.
func (l *local) startFirst() error {
	etcd, err := l.etcd()
	if err != nil {
		return err
	}
	containerd, err := l.containerd()
	if err != nil {
		return err
	}
	api, err := l.apiServer()
	if err != nil {
		return err
	}
	for _, d := range []daemon{etcd, api, containerd, l.registry()} {
		if err := l.startDaemon(d); err != nil {
			return err
		}
	}
	return nil
}

// loadOwnImages loads those images of every host that it does not have, while the API
// server starts. A record of their digests shows which: a host that is up gets images that
// have changed since.
func (l *local) loadOwnImages(ctx context.Context) error {
	record := l.path("run", "images.json")
	all, err := ownRecipes(ctx, l.path("bin"))
	if err != nil {
		return err
	}
	loaded := readDigests(record)
	missing := slices.DeleteFunc(all, func(r recipe) bool { return loaded[r.names[0]] == r.digest() })
	if len(missing) == 0 {
		return nil
	}
	file := l.path("images.tar")
	if err := writeImages(file, missing); err != nil {
		return err
	}
	err = poll(ctx, 30*time.Second, "containerd", func(ctx context.Context) error {
		if _, err := runForOutput(l.ctr(ctx, "version")); err != nil {
			return errors.Join(err, l.daemons.checkRunning("containerd"), l.daemons.checkRunning("registry"))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := l.loadImage(ctx, file); err != nil {
		return err
	}
	for _, r := range missing {
		loaded[r.names[0]] = r.digest()
	}
	return writeDigests(record, loaded)
}

func (l *local) awaitAPI(ctx context.Context) error {
	_, clientset, err := l.clients()
	if err != nil {
		return err
	}
	return poll(ctx, 2*time.Minute, "the API server", func(ctx context.Context) error { return l.checkAPI(ctx, clientset) })
}

func (l *local) startRest(ctx context.Context) error {
	for _, d := range l.controlLoopDaemons() {
		if err := l.startDaemon(d); err != nil {
			return err
		}
	}
	config, _, err := l.clients()
	if err != nil {
		return err
	}
	if err := l.apply(ctx, config); err != nil {
		return err
	}
	for _, prepare := range []func() (daemon, error){l.kubelet, l.kubeProxy, l.networkPolicies, l.coreDNS, l.startVolumes, l.metricsServer} {
		d, err := prepare()
		if err != nil {
			return err
		}
		if err := l.startDaemon(d); err != nil {
			return err
		}
	}
	return nil
}

func (l *local) awaitNode(ctx context.Context) error {
	_, clientset, err := l.clients()
	if err != nil {
		return err
	}
	err = poll(ctx, 2*time.Minute, "the node", func(ctx context.Context) error { return l.checkNode(ctx, clientset) })
	if err != nil {
		return err
	}
	if err := poll(ctx, time.Minute, "DNS", l.checkDNS); err != nil {
		return err
	}
	return poll(ctx, time.Minute, "the metrics API", func(ctx context.Context) error { return l.checkMetrics(ctx, clientset) })
}

func (l *local) down(ctx context.Context) error {
	unlock, err := l.prepare()
	if err != nil {
		return err
	}
	defer unlock()
	if l.otherHost() != "" { // Then this host is not up. The other host stays.
		return l.removeState()
	}
	return l.steps.run("down", func() error { return l.removeAll(ctx) })
}

// daemonNames returns all daemons of a host, the holder first.
func daemonNames() []string {
	return []string{
		"holder", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "containerd", "kubelet",
		"kube-proxy", "netpol", "coredns", "volumes", "metrics-server", "registry",
	}
}

// removeAll stops all processes and deletes the state of the cluster. The kubelet stops before
// the containers, which it would start again. The holder stops last, so that a failed call can be
// repeated.
func (l *local) removeAll(ctx context.Context) error {
	const grace = 5 * time.Second
	for _, name := range []string{"volumes", "metrics-server", "kubelet", "kube-proxy", "netpol"} {
		if err := l.daemons.stop(ctx, name, grace); err != nil {
			return err
		}
	}
	if err := kill(ctx, "containers", func() ([]process, error) { return containerProcesses(cgroupRoot) }); err != nil {
		return err
	}
	for _, name := range []string{"containerd", "registry", "coredns", "kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"} {
		if err := l.daemons.stop(ctx, name, grace); err != nil {
			return err
		}
	}
	if err := kill(ctx, "the node's processes", l.daemonProcesses); err != nil {
		return err
	}
	if err := l.daemons.stop(ctx, "holder", grace); err != nil {
		return err
	}
	return errors.Join(
		removeLink(ctx), removeCgroups(ctx, cgroupRoot), restoreSysctls(sysctlRoot, l.path("state", "sysctls")), l.removeState(),
	)
}

// removeState removes all state but the binaries and the logs.
func (l *local) removeState() error {
	made, err := os.ReadFile(l.path("run", "made"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for dir := range strings.Lines(string(made)) {
		// Somebody else may use it by now; then it stays.
		_ = os.Remove(strings.TrimSpace(dir))
	}
	for _, dir := range []string{"state", "run", "pki", "kubeconfig", "images.tar"} {
		if err := os.RemoveAll(l.path(dir)); err != nil {
			return err
		}
	}
	for _, dir := range []string{"state", "run"} {
		if err := os.MkdirAll(l.path(dir), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func (l *local) status(ctx context.Context) ([]string, bool) {
	up := true
	lines := []string{"folder      " + l.dir}
	for _, name := range daemonNames() {
		state := "gone"
		if p, ok := l.daemons.readPIDFile(name); ok {
			state = fmt.Sprintf("runs, pid %d", p.pid)
		} else {
			up = false
		}
		lines = append(lines, fmt.Sprintf("%-24s %s", name, state))
	}
	if !up {
		return lines, false
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, clientset, err := l.clients()
	if err == nil {
		err = l.checkNode(ctx, clientset)
	}
	if err != nil {
		return append(lines, "not ready: "+err.Error()), false
	}
	return append(lines, "ready       "+apiServer, "kubectl     "+l.binary("kubectl"), "kubeconfig  "+l.path("kubeconfig")), true
}
