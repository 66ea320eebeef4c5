package app

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

func TestKubeconfigSecret(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	bundle, err := pki.New(now)
	if err != nil {
		t.Fatal(err)
	}
	clock := clocktesting.NewFakeClock(now)
	client := fake.NewClientset()
	w := &kubeconfigWriter{client: client, names: shop, bundle: bundle, server: "https://shop.tenant-shop", context: "shop", clock: clock}
	read := func() *corev1.Secret {
		t.Helper()
		secret, err := client.CoreV1().Secrets(shop.namespace).Get(t.Context(), "shop-kubeconfig", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}

	for _, step := range []struct {
		reason string
		change func()
		writes bool
	}{
		{"The first start writes it.", func() {}, true},
		{"A restart with the same settings leaves it alone.", func() {}, false},
		{"Another address is written at once.", func() { w.server = "https://shop.example.com" }, true},
		{"Another context too.", func() { w.context = "mine" }, true},
		{"A certificate in the first half of its life is kept.", func() { clock.Step(pki.LeafValidity / 2) }, false},
		{"One in the last third is renewed.", func() { clock.Step(pki.LeafValidity / 4) }, true},
	} {
		before := len(client.Actions())
		step.change()
		next, err := w.ensure(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", step.reason, err)
		}
		writes := false
		for _, action := range client.Actions()[before:] {
			writes = writes || action.GetVerb() != "get"
		}
		if writes != step.writes {
			t.Errorf("%s: written: %t", step.reason, writes)
		}
		if _, right := w.lifetime(read()); !right || next <= 0 || next > pki.LeafValidity {
			t.Errorf("%s: the Secret must be right and be looked at again in time, in %s", step.reason, next)
		}
	}
	if got := len(read().Data["client-key"]); got == 0 {
		t.Error("the parts of the kubeconfig have keys of their own")
	}
}
