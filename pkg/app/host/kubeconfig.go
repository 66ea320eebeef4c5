package host

import (
	"cmp"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// KubeconfigSecret is a host Secret with a kubeconfig for the virtual cluster. Its certificate
// or token is renewed when a third of its life is left.
type KubeconfigSecret struct {
	// Name is the name of the Secret, and Labels are its labels.
	Name   string
	Labels map[string]string
	// Bundle signs the client certificate.
	Bundle *pki.Bundle
	// Server is the URL and Context the name of the context in the file.
	Server, Context string
	// Address replaces Server once it is known. Default: Server is used.
	Address *Address
	// Insecure omits the certificate authority, so that clients do not verify the server.
	Insecure bool
	// Token issues tokens. Default: the kubeconfig has a client certificate instead.
	Token *AccountToken
	// Clock is the time.
	Clock clock.PassiveClock
	// OnExpiry is called with the expiry of the certificate in the Secret. Default: no call.
	OnExpiry func(time.Time)
}

// server returns the URL for the kubeconfig.
func (k *KubeconfigSecret) server() string {
	if k.Address == nil {
		return k.Server
	}
	return cmp.Or(k.Address.Server(), k.Server)
}

// OnChange registers f, which is called whenever the Secret may have to be written again.
func (k *KubeconfigSecret) OnChange(f func()) {
	if k.Address != nil {
		k.Address.OnChange(f)
	}
}

// Want implements [WantSecret].
func (k *KubeconfigSecret) Want(ctx context.Context, current *corev1.Secret) (*corev1.Secret, time.Duration, error) {
	left, err := k.remaining(ctx, current)
	if err != nil || left > 0 {
		return nil, left, err
	}
	wanted, err := k.build(ctx)
	if err != nil {
		return nil, 0, err
	}
	left, err = k.remaining(ctx, wanted)
	return wanted, max(left, tokenRetry), err
}

// remaining returns how long the kubeconfig in secret is up to date, 0 if it must be written
// again now.
func (k *KubeconfigSecret) remaining(ctx context.Context, secret *corev1.Secret) (time.Duration, error) {
	if secret == nil {
		return 0, nil
	}
	config, err := clientcmd.Load(secret.Data[release.KubeconfigKey])
	if err != nil || config.CurrentContext != k.Context || string(secret.Data["certificate-authority"]) != string(k.Bundle.CA()) {
		return 0, nil //nolint:nilerr // It is written again.
	}
	user := config.AuthInfos[k.Context]
	if user == nil || !k.isCurrent(config.Clusters[k.Context]) {
		return 0, nil
	}
	if k.Token != nil {
		if user.Token != string(secret.Data[corev1.ServiceAccountTokenKey]) {
			return 0, nil
		}
		return k.Token.remaining(ctx, user.Token)
	}
	return k.certificateRemaining(secret, user), nil
}

// isCurrent reports whether a kubeconfig has the current server and certificate authority.
// cluster may be nil.
func (k *KubeconfigSecret) isCurrent(cluster *clientcmdapi.Cluster) bool {
	authority := k.Bundle.CA()
	if k.Insecure {
		authority = nil
	}
	return cluster != nil && cluster.Server == k.server() && cluster.InsecureSkipTLSVerify == k.Insecure &&
		string(cluster.CertificateAuthorityData) == string(authority)
}

// certificateRemaining returns how long a client certificate can stay in use, 0 if it must be
// replaced now.
func (k *KubeconfigSecret) certificateRemaining(secret *corev1.Secret, user *clientcmdapi.AuthInfo) time.Duration {
	begins, expires, ours := k.Bundle.TenantCertificateTimes(user.ClientCertificateData)
	now := k.Clock.Now()
	left := expires.Sub(now) - pki.TenantValidity/3
	// A certificate that is not valid yet was issued while a clock was wrong.
	if !ours || left <= 0 || now.Before(begins) {
		return 0
	}
	if k.OnExpiry != nil {
		k.OnExpiry(expires)
	}
	if string(user.ClientCertificateData) != string(secret.Data["client-certificate"]) ||
		string(user.ClientKeyData) != string(secret.Data["client-key"]) {
		return 0
	}
	return left
}

// build returns a Secret with a new certificate or token. Its keys are those that other virtual
// cluster projects use as well.
func (k *KubeconfigSecret) build(ctx context.Context) (*corev1.Secret, error) {
	content, err := k.Bundle.TenantKubeconfig(k.Clock.Now(), k.server(), k.Context)
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.Load(content)
	if err != nil {
		return nil, fmt.Errorf("cannot read the kubeconfig of %s: %w", k.Context, err)
	}
	cluster, user := config.Clusters[k.Context], config.AuthInfos[k.Context]
	data := map[string][]byte{"certificate-authority": cluster.CertificateAuthorityData}
	if k.Insecure {
		cluster.CertificateAuthorityData, cluster.InsecureSkipTLSVerify = nil, true
	}
	if k.Token != nil {
		token, err := k.Token.issue(ctx)
		if err != nil {
			return nil, err
		}
		*user = clientcmdapi.AuthInfo{Token: token}
		data[corev1.ServiceAccountTokenKey] = []byte(token)
	} else {
		data["client-certificate"], data["client-key"] = user.ClientCertificateData, user.ClientKeyData
	}
	if data[release.KubeconfigKey], err = clientcmd.Write(*config); err != nil {
		return nil, fmt.Errorf("cannot write the kubeconfig of %s: %w", k.Context, err)
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: k.Name, Labels: k.Labels}, Data: data}, nil
}
