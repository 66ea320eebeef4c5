package host

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// TestDamagedCerts starts with a certs Secret that cannot be used. Its copy on the volume is restored.
func TestDamagedCerts(t *testing.T) {
	t.Parallel()
	bundle, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	partial := bundle.Secret()
	delete(partial, pki.KeyCAKey)
	for name, data := range map[string]map[string][]byte{"empty": nil, "partial": partial, "garbled": {"ca.crt": []byte("x")}} {
		client := fake.NewClientset(chartObjects(nil, &corev1.Secret{ObjectMeta: meta("shop-certs", "3", nil), Data: data})...)
		d := newDiscovery(t, client)
		d.CompleteCerts = pki.WithPeers
		d.CheckCerts = func(data map[string][]byte) error { _, err := pki.FromSecret(data); return err }
		createStore(t, d.DataDir)
		if err := (&Facts{Anchor: shop().AnchorOwner("anchor-uid"), Certs: bundle.Secret()}).save(d.DataDir); err != nil {
			t.Fatal(err)
		}
		facts, _, err := d.Discover(t.Context(), noStandby(t))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		known, _ := LoadFacts(d.DataDir)
		secret, err := client.CoreV1().Secrets(shop().Namespace).Get(t.Context(), "shop-certs", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for where, got := range map[string]map[string][]byte{"facts": facts.Certs, "volume": known.Certs, "Secret": secret.Data} {
			if string(got[pki.KeyCAKey]) != string(bundle.Secret()[pki.KeyCAKey]) {
				t.Errorf("%s: the %s lost the keys", name, where)
			}
		}
	}
}
