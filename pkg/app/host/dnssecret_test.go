package host

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

func TestDNSSecret(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	bundle, err := pki.New(now)
	if err != nil {
		t.Fatal(err)
	}
	clock := clocktesting.NewFakeClock(now)
	d := &DNSSecret{Release: shop(), Bundle: bundle, User: "dns", ServiceRanges: "10.96.0.0/12", Clock: clock}
	var current *corev1.Secret
	for _, step := range []struct {
		reason string
		change func()
		writes bool
	}{
		{"The first start writes it.", func() {}, true},
		{"A restart with the same settings leaves it alone.", func() {}, false},
		{"Another range of the host is written at once.", func() { d.ServiceRanges = "10.96.0.0/12,fd00::/108" }, true},
		{"A certificate of another user is replaced.", func() { d.User = "other" }, true},
		{"A certificate that was changed by hand is put right.", func() { current.Data["tls.crt"] = []byte("mine") }, true},
		{"A certificate of another authority is replaced.", func() { replaceAuthority(t, d, now) }, true},
		{"A certificate in the first half of its life is kept.", func() { clock.Step(pki.LeafValidity / 2) }, false},
		{"One in the last third is renewed.", func() { clock.Step(pki.LeafValidity / 4) }, true},
	} {
		step.change()
		wanted, again, err := d.Want(t.Context(), current)
		if err != nil {
			t.Fatalf("%s: %v", step.reason, err)
		}
		if (wanted != nil) != step.writes || again <= 0 || again > pki.LeafValidity {
			t.Errorf("%s: written: %t, again after %s", step.reason, wanted != nil, again)
		}
		if wanted != nil {
			current = wanted
		}
	}
	if _, ok := current.Data["ca.key"]; ok || len(current.Data) != 4 {
		t.Errorf("the Secret has more than a client needs: %d keys", len(current.Data))
	}
}

// replaceAuthority gives the Secret another authority.
func replaceAuthority(t *testing.T, d *DNSSecret, now time.Time) {
	t.Helper()
	var err error
	if d.Bundle, err = pki.New(now); err != nil {
		t.Fatal(err)
	}
}
