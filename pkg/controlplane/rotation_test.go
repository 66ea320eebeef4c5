package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// serverLine leads clients to the control plane that runs now.
type serverLine struct{ address atomic.Pointer[string] }

// dial connects to the control plane that runs now.
func (l *serverLine) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	address := l.address.Load()
	if address == nil {
		return nil, errors.New("no control plane runs")
	}
	return new(net.Dialer).DialContext(ctx, network, *address)
}

// lead sends new connections to a control plane.
func (l *serverLine) lead(p *plane) { l.address.Store(&p.address) }

// tenant returns a client with a kubeconfig that the bundle issues now.
func (l *serverLine) tenant(t *testing.T, bundle *pki.Bundle) kubernetes.Interface {
	t.Helper()
	content, err := bundle.TenantKubeconfig(time.Now(), "https://kubernetes.default.svc", "test")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(content)
	if err != nil {
		t.Fatal(err)
	}
	config.Dial = l.dial
	return kubernetes.NewForConfigOrDie(config)
}

// account returns a client with a token, which trusts what the bundle trusts.
func (l *serverLine) account(bundle *pki.Bundle, token string) kubernetes.Interface {
	return kubernetes.NewForConfigOrDie(&rest.Config{
		Host: "https://kubernetes.default.svc", BearerToken: token, Dial: l.dial,
		TLSClientConfig: rest.TLSClientConfig{CAData: bundle.CA()},
	})
}

// review asks who the client is. It returns an error if the client does not trust the
// server, or the server does not trust the client.
func review(t *testing.T, client kubernetes.Interface) error {
	t.Helper()
	_, err := client.AuthenticationV1().SelfSubjectReviews().
		Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	return err
}

// awaitTrust waits until client and server trust each other. A connection from before a
// restart may fail once, and roles come from a cache.
func awaitTrust(t *testing.T, what string, client kubernetes.Interface) {
	t.Helper()
	eventually(t, what, func(context.Context) string {
		if err := review(t, client); err != nil {
			return err.Error()
		}
		return ""
	})
}

// TestRotation rotates the authority and the key of service accounts while a tenant
// watches. Kubeconfigs and tokens from before work until the rotation is finished.
func TestRotation(t *testing.T) {
	t.Parallel()
	dir, before, line := t.TempDir(), newBundle(t), &serverLine{}
	first := startPlane(t, Config{Storage: throwAway(dir), PKI: before})
	line.lead(first)
	token, err := first.client.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	oldTenant, oldAccount := line.tenant(t, before), line.account(before, token.Status.Token)
	factory := informers.NewSharedInformerFactoryWithOptions(oldTenant, 0, informers.WithNamespace("default"))
	watched := factory.Core().V1().ConfigMaps().Lister().ConfigMaps("default")
	factory.Start(t.Context().Done())
	factory.WaitForCacheSync(t.Context().Done())

	during := restartWith(t, first, dir, func(data map[string][]byte) (map[string][]byte, error) { return pki.Rotate(data, time.Now()) })
	line.lead(during)
	newTenant := line.tenant(t, during.bundle)
	for name, client := range map[string]kubernetes.Interface{"old kubeconfig": oldTenant, "old token": oldAccount, "new kubeconfig": newTenant} {
		awaitTrust(t, "during the rotation, "+name, client)
	}
	marker := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "marker"}}
	if _, err := newTenant.CoreV1().ConfigMaps("default").Create(t.Context(), marker, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the watch from before the rotation", func(context.Context) string {
		if _, err := watched.Get("marker"); err != nil {
			return err.Error()
		}
		return ""
	})
	eventually(t, "the authorities that pods trust", func(ctx context.Context) string {
		published, err := during.client.CoreV1().ConfigMaps("default").Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if published.Data["ca.crt"] != string(during.bundle.CA()) {
			return fmt.Sprintf("got %s, want both", published.Data["ca.crt"])
		}
		return ""
	})

	awaitTrustBundle(t, during)

	after := restartWith(t, during, dir, func(data map[string][]byte) (map[string][]byte, error) {
		return pki.FinishRotation(data, time.Now(), true)
	})
	line.lead(after)
	awaitTrust(t, "after the rotation, the new kubeconfig", newTenant)
	awaitTrustBundle(t, after)
	for name, client := range map[string]kubernetes.Interface{
		"old kubeconfig": oldTenant, "old kubeconfig with the new authority": line.withCA(t, before, after.bundle),
		"old token": line.account(after.bundle, token.Status.Token),
	} {
		if err := review(t, client); err == nil {
			t.Errorf("after the rotation, %s still works", name)
		}
	}
}

// withCA returns a client with a certificate of one bundle, which trusts another.
func (l *serverLine) withCA(t *testing.T, client, trusted *pki.Bundle) kubernetes.Interface {
	t.Helper()
	pair, err := client.Client(time.Now(), "kubernetes-admin", pki.GroupTenantAdmins)
	if err != nil {
		t.Fatal(err)
	}
	return kubernetes.NewForConfigOrDie(&rest.Config{
		Host: "https://kubernetes.default.svc", Dial: l.dial,
		TLSClientConfig: rest.TLSClientConfig{CAData: trusted.CA(), CertData: pair.Cert, KeyData: pair.Key},
	})
}

// restartWith stops a control plane and starts the next one on its store, with changed keys.
func restartWith(t *testing.T, p *plane, dir string, change func(map[string][]byte) (map[string][]byte, error)) *plane {
	t.Helper()
	stopInTime(t, p)
	data, err := change(p.bundle.Secret())
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := pki.FromSecret(data)
	if err != nil {
		t.Fatal(err)
	}
	return startPlane(t, Config{Storage: throwAway(dir), PKI: bundle})
}
