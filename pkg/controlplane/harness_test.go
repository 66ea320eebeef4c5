package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/storage"
)

// patience is how long a test waits for what takes milliseconds on an idle machine.
const patience = 2 * time.Minute

// quiet drops the libraries' log, once for the process.
var quiet = sync.OnceFunc(func() {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
})

// A plane is a control plane that a test has started.
type plane struct {
	*ControlPlane
	bundle  *pki.Bundle
	address string
	client  kubernetes.Interface // an administrator's, in memory
	stop    func() error
}

// startPlane starts a control plane and stops it with the test. Whatever the
// configuration lacks is filled in for a throw-away one.
func startPlane(t *testing.T, config Config) *plane {
	t.Helper()
	quiet()
	if config.Storage == nil {
		config.Storage = throwAway(t.TempDir())
	}
	if config.PKI == nil {
		config.PKI = newBundle(t)
	}
	if etcd, ok := config.Storage.(*storage.Etcd); ok {
		awaitFree(t, etcd.Dir)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config.Listener = listener
	c, err := New(config)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- c.RunWithControllers(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { _ = stop() })

	select {
	case <-c.Ready():
	case err := <-ended:
		ended <- err
		t.Fatalf("Run ended before it was ready: %v", err)
	case <-time.After(patience):
		t.Fatalf("the control plane is not ready: %v", c.Checks())
	}
	return &plane{
		ControlPlane: c, bundle: config.PKI, address: listener.Addr().String(), stop: stop,
		client: kubernetes.NewForConfigOrDie(c.ClientConfig("admin", pki.GroupAdmins)),
	}
}

// awaitFree waits until no store holds a directory. A stop waits for its store for some seconds
// only, as the process ends after it.
func awaitFree(t *testing.T, dir string) {
	t.Helper()
	eventually(t, "the store before this one has ended", func(context.Context) string {
		file, err := os.Open(filepath.Join(dir, "lock"))
		if err != nil {
			return "" // Nobody has used the directory.
		}
		defer func() { _ = file.Close() }()
		if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			return err.Error()
		}
		_ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
		return ""
	})
}

func throwAway(dir string) storage.Backend {
	e := storage.Embedded(dir)
	e.NoSync = true
	return e
}

func newBundle(t *testing.T) *pki.Bundle {
	t.Helper()
	bundle, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

// kubeconfig returns how kubectl reaches the control plane: over TLS, with a client
// certificate.
func (p *plane) kubeconfig(t *testing.T, user string, groups ...string) *rest.Config {
	t.Helper()
	content, err := p.bundle.Kubeconfig("https://"+p.address, "test", user, groups...)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(content)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	return config
}

// get fetches a path over TLS without any credentials.
func (p *plane) get(t *testing.T, path string) (code int, body string) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.bundle.CA())
	client := &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true},
	}
	res, err := client.Get("https://" + p.address + path)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	defer func() { _ = res.Body.Close() }()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return res.StatusCode, string(content)
}

// eventually waits until check has nothing to say.
func eventually(t *testing.T, what string, check func(ctx context.Context) (problem string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	last := ""
	for {
		problem := check(ctx)
		if problem == "" {
			return
		}
		if ctx.Err() == nil {
			last = problem // A later one may be that the context has ended.
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %s", what, last)
		case <-ticker.C:
		}
	}
}

func mustIP(s string) net.IP { return net.ParseIP(s) }

func requireContains(t *testing.T, what, got, want string) {
	t.Helper()
	if !strings.Contains(got, want) {
		t.Errorf("%s: got %q, want something with %q", what, got, want)
	}
}
