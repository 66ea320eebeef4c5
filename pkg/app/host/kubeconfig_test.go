package host

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
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
	k := &KubeconfigSecret{Release: shop(), Bundle: bundle, Server: "https://shop.tenant-shop", Context: "shop", Clock: clock}
	var current *corev1.Secret
	for _, step := range []struct {
		reason string
		change func()
		writes bool
	}{
		{"The first start writes it.", func() {}, true},
		{"A restart with the same settings leaves it alone.", func() {}, false},
		{"Another address is written at once.", func() { k.Server = "https://shop.example.com" }, true},
		{"Another context too.", func() { k.Context = "mine" }, true},
		{"A part that was changed by hand is put right.", func() { current.Data["client-key"] = []byte("mine") }, true},
		{"A certificate in the first half of its life is kept.", func() { clock.Step(pki.LeafValidity / 2) }, false},
		{"One in the last third is renewed.", func() { clock.Step(pki.LeafValidity / 4) }, true},
	} {
		step.change()
		wanted, again, err := k.Want(current)
		if err != nil {
			t.Fatalf("%s: %v", step.reason, err)
		}
		if (wanted != nil) != step.writes {
			t.Errorf("%s: written: %t", step.reason, wanted != nil)
		}
		if wanted != nil {
			current = wanted
		}
		if _, ok := k.lifetime(current); !ok || again <= 0 || again > pki.LeafValidity {
			t.Errorf("%s: the Secret must be right and be looked at again in time, in %s", step.reason, again)
		}
	}
}
