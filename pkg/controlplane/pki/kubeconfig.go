package pki

import (
	"fmt"
	"slices"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	// GroupAdmins is the group of the process's own parts. The authorizer lets it do
	// everything, without a role that a tenant could change.
	GroupAdmins = "system:masters"
	// GroupTenantAdmins is the group of the tenant's kubeconfig. A ClusterRoleBinding of
	// that name makes it cluster-admin, and can be deleted.
	GroupTenantAdmins = "sublet:tenant-admins"
	// TenantValidity is how long the tenant's client certificate is valid.
	TenantValidity = 30 * 24 * time.Hour

	// tenantUser is the name in the tenant's client certificate.
	tenantUser = "kubernetes-admin"
)

// Kubeconfig returns a kubeconfig file for the API server at the URL server. It
// holds a fresh client certificate for the user, valid for [LeafValidity].
func (b *Bundle) Kubeconfig(server, contextName, user string, groups ...string) ([]byte, error) {
	return b.KubeconfigAt(time.Now(), server, contextName, user, groups...) //nolint:forbidigo // KubeconfigAt takes a time
}

// KubeconfigAt returns what [Bundle.Kubeconfig] returns at that time.
func (b *Bundle) KubeconfigAt(now time.Time, server, contextName, user string, groups ...string) ([]byte, error) {
	client, err := b.Client(now, user, groups...)
	if err != nil {
		return nil, err
	}
	return b.kubeconfig(client, server, contextName)
}

// TenantKubeconfig returns the tenant's kubeconfig file for the API server at the URL
// server. Its client certificate is valid for [TenantValidity].
func (b *Bundle) TenantKubeconfig(now time.Time, server, contextName string) ([]byte, error) {
	client, err := b.client(now, TenantValidity, tenantUser, GroupTenantAdmins)
	if err != nil {
		return nil, err
	}
	return b.kubeconfig(client, server, contextName)
}

// kubeconfig returns a kubeconfig file with a client certificate.
func (b *Bundle) kubeconfig(client Pair, server, contextName string) ([]byte, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters[contextName] = &clientcmdapi.Cluster{
		Server:                   server,
		CertificateAuthorityData: b.CA(),
	}
	config.AuthInfos[contextName] = &clientcmdapi.AuthInfo{
		ClientCertificateData: client.Cert,
		ClientKeyData:         client.Key,
	}
	config.Contexts[contextName] = &clientcmdapi.Context{Cluster: contextName, AuthInfo: contextName}
	config.CurrentContext = contextName
	content, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("cannot write the kubeconfig of %s: %w", contextName, err)
	}
	return content, nil
}

// TenantCertificateTimes returns from when to when a tenant's client certificate is valid. ok is false if
// this bundle did not issue it, or issued it for another group, as earlier releases did.
func (b *Bundle) TenantCertificateTimes(cert []byte) (begins, expires time.Time, ok bool) {
	leaf, err := readCert(map[string][]byte{"client": cert}, "client")
	if err != nil || leaf.CheckSignatureFrom(b.ca.cert) != nil || !slices.Equal(leaf.Subject.Organization, []string{GroupTenantAdmins}) {
		return time.Time{}, time.Time{}, false
	}
	return leaf.NotBefore, leaf.NotAfter, true
}
