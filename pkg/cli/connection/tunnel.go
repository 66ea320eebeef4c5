package connection

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/kubeconfig"
)

const (
	// watchInterval is how often a background tunnel looks whether its context still exists.
	watchInterval = time.Second
	// appearInterval is how often it looks until that appears. A user may be gone within a second.
	appearInterval = 50 * time.Millisecond
	// appearPatience is how long it waits for its context to appear.
	appearPatience = 2 * time.Minute
)

// Local is a connection that lasts as long as this process.
type Local struct {
	// Config is a kubeconfig for it.
	Config *clientcmdapi.Config
	// Serve runs the tunnel until its context ends. It is nil if none is needed.
	Serve func(ctx context.Context) error
}

// Open connects for as long as this process lives.
func (t *Target) Open(ctx context.Context) (*Local, error) {
	cluster, user, err := t.Exported(ctx)
	if err != nil {
		return nil, err
	}
	local := &Local{}
	if server := t.DirectServer(ctx, cluster.Server); server != "" {
		cluster.Server = server
		if user, err = t.credentials(ctx, cluster, user, nil); err != nil {
			return nil, err
		}
	} else {
		listener, err := t.Listen(ctx)
		if err != nil {
			return nil, err
		}
		cluster.Server = "https://" + listener.Addr().String()
		tunnel := t.Forwarder(release.APIPort)
		if user, err = t.credentials(ctx, cluster, user, tunnel); err != nil {
			tunnel.Close()
			return nil, errors.Join(err, listener.Close())
		}
		local.Serve = func(ctx context.Context) error { return tunnel.Serve(ctx, listener) }
	}
	local.Config = standalone(t.contextName(), cluster, user)
	return local, nil
}

// Connect writes a context for the virtual cluster. If a tunnel is needed, a background process
// serves it until the context is gone. Connect returns the name of the context and its server.
func (t *Target) Connect(ctx context.Context) (name, server string, err error) {
	cluster, user, err := t.Exported(ctx)
	if err != nil {
		return "", "", err
	}
	end := func() {}
	connection := kubeconfig.Connection{Name: t.Release.Name, Namespace: t.Release.Namespace, HostContext: t.Host.Context}
	if direct := t.DirectServer(ctx, cluster.Server); direct != "" {
		cluster.Server = direct
		user, err = t.credentials(ctx, cluster, user, nil)
	} else {
		tunnel := t.Forwarder(release.APIPort)
		defer tunnel.Close()
		if user, err = t.credentials(ctx, proxied(cluster), user, tunnel); err == nil {
			connection.ID = rand.Text()
			var port int
			port, end, err = t.detach(connection.ID)
			cluster.Server = "https://" + net.JoinHostPort(loopback, strconv.Itoa(port))
		}
	}
	if err != nil {
		return "", "", err
	}
	name = t.contextName()
	if err := t.write(ctx, name, connection, cluster, user); err != nil {
		end()
		return "", "", err
	}
	return name, cluster.Server, nil
}

// proxied returns the cluster as it is seen through a tunnel.
func proxied(cluster *clientcmdapi.Cluster) *clientcmdapi.Cluster {
	other := cluster.DeepCopy()
	other.Server = "https://" + loopback
	return other
}

// contextName returns the name of the context.
func (t *Target) contextName() string {
	if t.ContextName != "" {
		return t.ContextName
	}
	return strings.Join([]string{"sublet", t.Release.Name, t.Release.Namespace, t.Host.Context}, "_")
}

// write writes the context into the kubeconfig of the user, and makes it the current one.
func (t *Target) write(ctx context.Context, name string, connection kubeconfig.Connection, cluster *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo) error {
	return t.Env.Files().Update(ctx, func(current *clientcmdapi.Config) (kubeconfig.Change, error) {
		connection.Previous = current.CurrentContext
		if old, exists := current.Contexts[name]; exists {
			known, ours := kubeconfig.ConnectionOf(old)
			if !ours {
				return kubeconfig.Change{}, fault.New(fault.Conflict, "Choose another name with --context-name.", "context %q exists, and sublet has not written it", name)
			}
			if current.CurrentContext == name {
				connection.Previous = known.Previous
			}
		}
		own := []string{name}
		if isUsed(current, own, func(c *clientcmdapi.Context) bool { return c.Cluster == name || c.AuthInfo == name }) {
			return kubeconfig.Change{}, fault.New(fault.Conflict, "Choose another name with --context-name.", "another context uses the cluster or the user %q", name)
		}
		written, err := kubeconfig.ContextFor(name, connection)
		if err != nil {
			return kubeconfig.Change{}, err
		}
		change := kubeconfig.Change{
			Clusters: map[string]*clientcmdapi.Cluster{name: cluster},
			Users:    map[string]*clientcmdapi.AuthInfo{name: user},
			Contexts: map[string]*clientcmdapi.Context{name: written},
		}
		if !t.KeepContext {
			change.CurrentContext = &name
		}
		return change, nil
	})
}

// detach starts a background process that serves the tunnel. It returns its port, and what ends it before it has a
// context.
func (t *Target) detach(id string) (port int, end func(), err error) {
	program, err := os.Executable()
	if err != nil {
		return 0, nil, fmt.Errorf("cannot find this program: %w", err)
	}
	arguments := append([]string{
		ForwardVerb, t.Release.Name, "--namespace=" + t.Release.Namespace, "--context=" + t.Host.Context, "--id=" + id, "--port=" + strconv.Itoa(t.Port),
	}, t.Env.HostFlags...)
	command := exec.Command(program, arguments...) //nolint:gosec,noctx // it is this program, and outlives the call
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := command.StdoutPipe()
	if err != nil {
		return 0, nil, fmt.Errorf("cannot start the tunnel: %w", err)
	}
	defer out.Close()
	if err := command.Start(); err != nil {
		return 0, nil, fmt.Errorf("cannot start the tunnel: %w", err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	text := strings.TrimSpace(line)
	port, err = strconv.Atoi(text)
	if err != nil {
		_ = command.Wait()
		return 0, nil, fault.New(fault.Unreachable, "Keep it in this terminal to see more: sublet connect "+t.Release.Name+" --foreground", "cannot start the tunnel: %s", text)
	}
	return port, func() { _ = command.Process.Signal(syscall.SIGTERM) }, nil
}

// ForwardVerb is the hidden command that serves a tunnel in the background.
const ForwardVerb = "forward-in-background"

// ServeInBackground runs one process of the tunnel with the given ID. The first one calls started with the port. The
// tunnel ends once no context of the user has that ID.
func (t *Target) ServeInBackground(ctx context.Context, id, stage string, started func(port int)) error {
	process := &tunnelProcess{
		arguments: os.Args[1:], serve: t.Forwarder(release.APIPort).Serve,
		awaitEnd: func(ctx context.Context) { t.awaitRemoval(ctx, id) },
	}
	switch stage {
	case StageServe:
		return process.runServer(ctx)
	case StageKeep:
		return process.runKeeper(ctx, os.NewFile(listenerFile, "listener"))
	}
	listener, err := t.Listen(ctx)
	if err != nil {
		return err
	}
	file, err := listener.(*net.TCPListener).File()
	if err = errors.Join(err, listener.Close()); err != nil {
		return fmt.Errorf("cannot share the listener of the tunnel: %w", err)
	}
	started(listener.Addr().(*net.TCPAddr).Port)
	return process.runKeeper(ctx, file)
}

// awaitRemoval returns once no context has the ID, or none had it in time. A kubeconfig that is gone has none. One
// that cannot be read is no reason to end.
func (t *Target) awaitRemoval(ctx context.Context, id string) {
	ticker := time.NewTicker(appearInterval)
	defer ticker.Stop()
	seen := false
	for waited := time.Duration(0); seen || waited < appearPatience; waited += appearInterval {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		config, err := t.Env.Files().Load()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		switch found := err == nil && hasConnection(config, id); {
		case found && !seen:
			seen = true
			ticker.Reset(watchInterval)
		case !found && seen:
			return
		}
	}
}

// hasConnection reports whether a context has a connection with the ID.
func hasConnection(config *clientcmdapi.Config, id string) bool {
	for _, entry := range config.Contexts {
		if connection, ok := kubeconfig.ConnectionOf(entry); ok && connection.ID == id {
			return true
		}
	}
	return false
}

// OpenContext connects for as long as this process lives, and writes a context for that time.
func (t *Target) OpenContext(ctx context.Context) (name string, local *Local, err error) {
	if local, err = t.Open(ctx); err != nil {
		return "", nil, err
	}
	name = local.Config.CurrentContext
	connection := kubeconfig.Connection{Name: t.Release.Name, Namespace: t.Release.Namespace, HostContext: t.Host.Context}
	return name, local, t.write(ctx, name, connection, local.Config.Clusters[name], local.Config.AuthInfos[name])
}
