package host

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/sublet-dev/sublet/api/release"
)

// TestCertsDeletedInBetween lets the host delete the keys of an earlier release between the read and the
// overwrite. That is when both happen: the start must not end.
func TestCertsDeletedInBetween(t *testing.T) {
	t.Parallel()
	secret := certsSecret()
	secret.OwnerReferences = []metav1.OwnerReference{shop().AnchorOwner("earlier-uid")}
	client := fake.NewClientset(chartObjects(nil, secret)...)
	client.PrependReactor("update", "secrets", func(clienttesting.Action) (bool, runtime.Object, error) {
		return false, nil, client.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("secrets"), shop().Namespace, "shop-certs")
	})
	facts, _, err := newDiscovery(t, client).Discover(t.Context(), noStandby(t))
	if err != nil {
		t.Fatal(err)
	}
	written, err := client.CoreV1().Secrets(shop().Namespace).Get(t.Context(), "shop-certs", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for where, got := range map[string]string{"facts": string(facts.Certs["ca.crt"]), "Secret": string(written.Data["ca.crt"])} {
		if got != "new" {
			t.Errorf("the %s have the authority %q, want new keys", where, got)
		}
	}
	if written.Type != release.CertsType || !isOwnedBy(written, shop().AnchorOwner("anchor-uid")) {
		t.Errorf("the Secret is %s of %v", written.Type, written.OwnerReferences)
	}
}
