package host

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/clientcmd"
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
	k := &KubeconfigSecret{Name: "shop-kubeconfig", Bundle: bundle, Server: "https://shop.tenant-shop", Context: "shop", Clock: clock}
	var ends time.Time
	k.OnExpiry = func(end time.Time) { ends = end }
	var current *corev1.Secret
	for _, step := range []struct {
		reason string
		change func()
		writes bool
	}{
		{"The first start writes it.", func() {}, true},
		{"One of an earlier release is replaced at the upgrade.", func() {
			current.Data["config"], err = bundle.KubeconfigAt(now, k.Server, k.Context, "kubernetes-admin", pki.GroupAdmins)
			if err != nil {
				t.Fatal(err)
			}
			config, err := clientcmd.RESTConfigFromKubeConfig(current.Data["config"])
			if err != nil {
				t.Fatal(err)
			}
			current.Data["certificate-authority"], current.Data["client-certificate"], current.Data["client-key"] = config.CAData, config.CertData, config.KeyData
		}, true},
		{"A restart with the same settings leaves it alone.", func() {}, false},
		{"Another address is written at once.", func() { k.Server = "https://shop.example.com" }, true},
		{"Another context too.", func() { k.Context = "mine" }, true},
		{"An address that is not known yet changes nothing.", func() { k.Address = &Address{} }, false},
		{"One that the host has given does.", func() { k.Address.server = "https://192.0.2.7" }, true},
		{"A part that was changed by hand is put right.", func() { current.Data["client-key"] = []byte("mine") }, true},
		{"A certificate in the first half of its life is kept.", func() { clock.Step(pki.TenantValidity / 2) }, false},
		{"One in the last third is renewed.", func() { clock.Step(pki.TenantValidity / 4) }, true},
		{"One that begins in the future is renewed, as the clock was wrong.", func() { clock.Step(-time.Hour) }, true},
	} {
		step.change()
		wanted, again, err := k.Want(t.Context(), current)
		if err != nil {
			t.Fatalf("%s: %v", step.reason, err)
		}
		if (wanted != nil) != step.writes {
			t.Errorf("%s: written: %t", step.reason, wanted != nil)
		}
		if wanted != nil {
			current = wanted
		}
		if !ends.Equal(clock.Now().Add(pki.TenantValidity)) && wanted != nil {
			t.Errorf("%s: the metric is %s", step.reason, ends)
		}
		if left, err := k.remaining(t.Context(), current); err != nil || left <= 0 || again <= 0 || again > pki.TenantValidity {
			t.Errorf("%s: the Secret must be right and be looked at again in time, in %s", step.reason, again)
		}
	}
}
