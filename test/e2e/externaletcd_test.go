//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/test/certificates"
	"github.com/sublet-dev/sublet/test/etcd"
)

// operatorEtcd is an etcd outside of the host, at an address that its pods reach. It wants
// client certificates.
type operatorEtcd struct {
	*etcd.Server

	pair map[string][]byte // the data of the Secret
}

// startOperatorEtcd starts an etcd on the address with which this machine reaches the host.
func startOperatorEtcd(t *testing.T) *operatorEtcd {
	t.Helper()
	e, address := &operatorEtcd{}, machineAddress(t)
	// One certificate is the authority, the server's and the client's.
	pair := certificates.NewAuthority(t, "etcd", net.ParseIP(address))
	e.pair = map[string][]byte{"ca.crt": pair.CertPEM(), corev1.TLSCertKey: pair.CertPEM(), corev1.TLSPrivateKeyKey: pair.KeyPEM(t)}
	certFile, keyFile := pair.Write(t, t.TempDir(), "etcd")
	e.Server = etcd.Start(t, etcd.Options{IP: address, TLS: transport.TLSInfo{
		CertFile: certFile, KeyFile: keyFile, TrustedCAFile: certFile, ClientCertAuth: true,
	}})
	return e
}

// TestExternalEtcd installs a virtual cluster on an etcd that somebody else runs, and takes
// the etcd away. Pods run on, the control plane is not restarted, and it works again by
// itself.
func TestExternalEtcd(t *testing.T) {
	t.Parallel()
	store := startOperatorEtcd(t)
	const namespace = "external-etcd"
	create := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := hostClient.CoreV1().Namespaces().Create(t.Context(), create, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	const external = "controlPlane.backingStore.etcd.external."
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "etcd-client"}, Type: corev1.SecretTypeTLS, Data: store.pair}
	if _, err := hostClient.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = hostClient.CoreV1().Secrets(namespace).Delete(context.WithoutCancel(t.Context()), secret.Name, metav1.DeleteOptions{})
	})
	tn := install(t, "external", namespace, external+"enabled=true", external+"tls.secret=etcd-client",
		external+"endpoint="+store.Endpoint())
	tn.runPods("before")

	store.Stop()
	eventually(t, "the control plane is unready and says why", func(ctx context.Context) error {
		if err := tn.virtual.Discovery().RESTClient().Get().AbsPath("/readyz").Timeout(5 * time.Second).Do(ctx).Error(); err == nil {
			return errors.New("it is ready")
		}
		logs, err := hostClient.CoreV1().Pods(namespace).GetLogs(tn.controlPlanePod(), &corev1.PodLogOptions{}).DoRaw(ctx)
		if err == nil && !strings.Contains(string(logs), "Store does not respond") {
			return errors.New("its log does not tell that the store is away")
		}
		return err
	})
	store.Resume(t)
	back := time.Now()
	tn.awaitReady()
	figure("external_etcd_back", time.Since(back).Seconds(), "s")
	tn.runPods("before", "after")
	pod, err := hostClient.CoreV1().Pods(namespace).Get(t.Context(), tn.controlPlanePod(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := pod.Status.ContainerStatuses[0].RestartCount; n > 0 {
		t.Errorf("the control plane was restarted %d times", n)
	}
}

// runPods creates the pods that do not exist, and waits until each runs on the host once.
func (tn *tenant) runPods(names ...string) {
	tn.t.Helper()
	for _, name := range names {
		tn.createPod(tn.t.Context(), name)
	}
	eventually(tn.t, "pods run", func(ctx context.Context) error {
		pods, err := tn.virtual.CoreV1().Pods("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, pod := range pods.Items {
			if pod.Status.Phase != corev1.PodRunning {
				return fmt.Errorf("pod %s is %s", pod.Name, pod.Status.Phase)
			}
		}
		if host := tn.hostPods(); len(pods.Items) != len(names) || host != len(names) {
			return fmt.Errorf("the tenant has %d pods and the host %d, want %d", len(pods.Items), host, len(names))
		}
		return nil
	})
}
