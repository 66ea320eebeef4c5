package app

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// TestRotateCommand checks what the command writes into the Secret with the keys.
func TestRotateCommand(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	bundle, err := pki.New(now)
	if err != nil {
		t.Fatal(err)
	}
	shop := release.Release{Name: "shop", Namespace: "tenant-shop"}
	client := fake.NewClientset(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: shop.Namespace, Name: shop.Certs()}, Data: bundle.Secret(),
	})
	read := func() map[string][]byte {
		secret, err := client.CoreV1().Secrets(shop.Namespace).Get(t.Context(), shop.Certs(), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return secret.Data
	}
	start := &rotation{release: shop, out: &bytes.Buffer{}}
	if err := start.write(t.Context(), client, now); err != nil {
		t.Fatal(err)
	}
	rotated := read()
	if bytes.Equal(rotated[pki.KeyCACert], bundle.SigningCA()) || !bytes.Equal(rotated[pki.KeyFormerCA], bundle.SigningCA()) {
		t.Error("the authority was not replaced, or is not trusted any more")
	}
	if err := start.write(t.Context(), client, now); err == nil {
		t.Error("a second rotation has begun before the first was finished")
	}
	finish := &rotation{release: shop, finish: true, out: &bytes.Buffer{}}
	if err := finish.write(t.Context(), client, now.Add(time.Hour)); err == nil {
		t.Error("the rotation was finished while old kubeconfigs are valid")
	}
	if diff := cmp.Diff(rotated, read()); diff != "" {
		t.Errorf("a command that failed has changed the Secret (-want +got):\n%s", diff)
	}
	if err := finish.write(t.Context(), client, now.Add(pki.TenantValidity)); err != nil {
		t.Fatal(err)
	}
	if data := read(); len(data[pki.KeyFormerCA]) > 0 || !bytes.Equal(data[pki.KeyCACert], rotated[pki.KeyCACert]) {
		t.Error("the old authority is still trusted, or the new one is gone")
	}
}

// TestReleaseOf checks that a pod of the control plane names its release.
func TestReleaseOf(t *testing.T) {
	t.Parallel()
	for pod, want := range map[string]string{"shop-0": "shop", "my-shop-2": "my-shop", "shop": "", "": ""} {
		if got := releaseOf(pod); got != want {
			t.Errorf("%q: got %q, want %q", pod, got, want)
		}
	}
}
