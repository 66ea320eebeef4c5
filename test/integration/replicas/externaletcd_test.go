package replicas

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/test/etcd"
)

// startSecured starts an etcd with TLS that wants client certificates.
func startSecured(t *testing.T) (*etcd.Server, transport.TLSInfo) {
	t.Helper()
	// The certificate signs itself, so it is the authority of both sides too.
	own, err := transport.SelfCert(zap.NewNop(), t.TempDir(), []string{"127.0.0.1:0"}, 1, x509.ExtKeyUsageClientAuth)
	if err != nil {
		t.Fatal(err)
	}
	files := transport.TLSInfo{CertFile: own.CertFile, KeyFile: own.KeyFile, TrustedCAFile: own.CertFile, ClientCertAuth: true}
	return etcd.Start(t, etcd.Options{TLS: files}), files
}

// externalValues returns the settings of a virtual cluster whose store is on an etcd.
func externalValues(endpoint string, files transport.TLSInfo) map[string]any {
	external := map[string]any{
		"enabled": true, "endpoint": endpoint,
		"tls": map[string]any{"caFile": files.CertFile, "certFile": files.CertFile, "keyFile": files.KeyFile},
	}
	return map[string]any{"controlPlane": map[string]any{"backingStore": map[string]any{"etcd": map[string]any{"external": external}}}}
}

// prefixes returns the first two parts of all keys.
func prefixes(t *testing.T, server *etcd.Server) []string {
	t.Helper()
	client := v3client.New(server.Etcd().Server)
	defer func() { _ = client.Close() }()
	all, err := client.Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, kv := range all.Kvs {
		parts := strings.SplitN(string(kv.Key), "/", 4)
		found = append(found, strings.Join(parts[:min(3, len(parts))], "/"))
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// TestExternalEtcd runs two virtual clusters on one etcd, which is away for a while.
func TestExternalEtcd(t *testing.T) {
	t.Parallel()
	server, files := startSecured(t)
	values := externalValues(server.Endpoint(), files)
	shop := newWorld(t, setup{values: values, replicas: 1})
	games := &world{host: shop.host, ways: newWays()}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	games.open(ctx, t, setup{name: "games", values: values, replicas: 1})

	testApart(t, server, shop, games)
	shop.runPod(t, "before")
	testEtcdAway(t, server, shop)
	shop.runPod(t, "after")
	pods, err := shop.host.Client().CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{LabelSelector: labels.Release + "=shop"})
	if err != nil || len(pods.Items) != 2 {
		t.Errorf("the host has %d pods of the tenant, want 2: %v", len(pods.Items), err)
	}
}

// testApart checks that neither virtual cluster sees what the other has.
func testApart(t *testing.T, server *etcd.Server, shop, games *world) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "only-shop"}}
	if _, err := shop.client(t).CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := games.client(t).CoreV1().Namespaces().Get(t.Context(), "only-shop", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("games got the namespace of shop: %v", err)
	}
	var want []string
	for _, name := range []string{"shop", "games"} {
		anchor, err := shop.host.Client().CoreV1().ConfigMaps(name).Get(t.Context(), name+"-anchor", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, "/"+labels.Domain+"/"+string(anchor.UID))
	}
	slices.Sort(want)
	if got := prefixes(t, server); !slices.Equal(got, want) {
		t.Errorf("the etcd has keys below %q, want %q", got, want)
	}
}

// testEtcdAway stops the etcd. The process must live, be unready, and be ready again when
// the etcd is back.
func testEtcdAway(t *testing.T, server *etcd.Server, w *world) {
	t.Helper()
	client := w.client(t)
	pid := w.fleet.Replicas()[0].PID()
	server.Stop()
	eventually(t, "the replica is unready", func(context.Context) error {
		if w.pick() != nil {
			return errors.New("it is ready")
		}
		return nil
	})
	if body, err := client.Discovery().RESTClient().Get().AbsPath("/livez").DoRaw(t.Context()); err != nil {
		t.Errorf("a replica whose store is away is not live: %s, %v", body, err)
	}
	server.Resume(t)
	w.awaitReady(t, 1)
	if now := w.fleet.Replicas()[0].PID(); now != pid {
		t.Errorf("process %d has ended, %d runs in its place", pid, now)
	}
}

// runPod creates a pod and waits until the host runs it.
func (w *world) runPod(t *testing.T, name string) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "main"}}},
	}
	eventually(t, "the API takes pod "+name, func(ctx context.Context) error {
		client := w.pick()
		if client == nil {
			return errNobody
		}
		_, err := client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, pod, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
	eventually(t, "pod "+name+" runs", func(ctx context.Context) error {
		client := w.pick()
		if client == nil {
			return errNobody
		}
		found, err := client.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, name, metav1.GetOptions{})
		if err == nil && found.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("it is %s", found.Status.Phase)
		}
		return err
	})
}
