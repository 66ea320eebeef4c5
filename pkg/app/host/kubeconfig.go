package host

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// KubeconfigSecret is the tenant's kubeconfig in a host Secret, with the settings of this
// release. Its certificate is renewed when a third of its life is left.
type KubeconfigSecret struct {
	// Release is the release of the virtual cluster.
	Release release.Release
	// Bundle signs the client certificate.
	Bundle *pki.Bundle
	// Server is the URL and Context the name of the context in the file.
	Server, Context string
	// Clock is the time.
	Clock clock.PassiveClock
	// OnExpiry is called with the end of the certificate that is in the Secret. Default:
	// nobody is.
	OnExpiry func(time.Time)
}

// Want implements [WantSecret].
func (k *KubeconfigSecret) Want(current *corev1.Secret) (*corev1.Secret, time.Duration, error) {
	if left, ok := k.lifetime(current); ok {
		return nil, left, nil
	}
	wanted, err := k.build()
	if err != nil {
		return nil, 0, err
	}
	left, _ := k.lifetime(wanted)
	return wanted, left, nil
}

// lifetime returns how long the kubeconfig in secret can be used. ok is false if
// it has to be written again.
func (k *KubeconfigSecret) lifetime(secret *corev1.Secret) (left time.Duration, ok bool) {
	if secret == nil {
		return 0, false
	}
	content := secret.Data[release.KubeconfigKey]
	expires, ours := k.Bundle.TenantKubeconfigExpires(content)
	left = expires.Sub(k.Clock.Now()) - pki.TenantValidity/3
	if !ours || left <= 0 {
		return 0, false
	}
	config, err := clientcmd.Load(content)
	if err != nil || config.CurrentContext != k.Context {
		return 0, false
	}
	cluster := config.Clusters[k.Context]
	if cluster == nil || cluster.Server != k.Server {
		return 0, false
	}
	ca, cert, key, err := pki.KubeconfigParts(content)
	if k.OnExpiry != nil {
		k.OnExpiry(expires)
	}
	ok = err == nil && string(ca) == string(secret.Data["certificate-authority"]) &&
		string(cert) == string(secret.Data["client-certificate"]) && string(key) == string(secret.Data["client-key"])
	return left, ok
}

// build returns a Secret with a fresh certificate. Its keys are those that users
// of other virtual clusters know.
func (k *KubeconfigSecret) build() (*corev1.Secret, error) {
	content, err := k.Bundle.TenantKubeconfig(k.Clock.Now(), k.Server, k.Context)
	if err != nil {
		return nil, err
	}
	ca, cert, key, err := pki.KubeconfigParts(content)
	if err != nil {
		return nil, err
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: k.Release.Kubeconfig(), Labels: k.Release.Labels()},
		Data: map[string][]byte{
			release.KubeconfigKey:   content,
			"certificate-authority": ca,
			"client-certificate":    cert,
			"client-key":            key,
		},
	}, nil
}
