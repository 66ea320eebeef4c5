package app

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// exportUser is the user that creates the service accounts of exported kubeconfigs.
const exportUser = "system:sublet:export"

// argoCDAccount is the service account that Argo CD uses in the virtual cluster.
const argoCDAccount = "sublet-argocd"

// releaseSecret is a host Secret that the server keeps up to date.
type releaseSecret struct {
	check           string // name of its check in /syncz
	namespace, name string
	desired         host.WantSecret
	ofChart         bool // the chart creates it, and the server only fills it in
	unowned         bool // it outlives the release
}

// releaseSecrets are the Secrets that the server writes on the host, with what they need in the
// virtual cluster.
type releaseSecrets struct {
	keepers  []*host.SecretKeeper
	operator *host.OperatorSecret
	exported *host.ExportBindings
}

// newSecrets returns the keepers of all Secrets that the server writes on the host.
func (a *openApp) newSecrets(plane *controlplane.ControlPlane) (*releaseSecrets, error) {
	operator := &host.OperatorSecret{Release: a.names, CA: a.bundle.CA(), Anchor: a.holder.AnchorOwner}
	virtual, err := kubernetes.NewForConfig(plane.KeeperConfig(exportUser))
	if err != nil {
		return nil, err
	}
	exported := &host.ExportBindings{Virtual: virtual, Clock: clock.RealClock{}}
	export := a.values.ExportKubeConfig
	kubeconfig := a.kubeconfigSecret(exported, v1alpha1.AdditionalSecret{
		Name: a.names.Kubeconfig(), Insecure: export.Insecure, ServiceAccount: export.ServiceAccount,
	})
	kubeconfig.OnExpiry = func(end time.Time) { controlplane.RecordExpiry("kubeconfig", end) }
	secrets := []releaseSecret{
		{check: "kubeconfig", namespace: a.names.Namespace, name: a.names.Kubeconfig(), desired: kubeconfig},
		{
			check: "certificates", namespace: a.names.Namespace, name: a.names.Certs(),
			desired: &host.CertsSecret{Name: a.names.Certs(), Data: a.facts.Certs, Check: checkCerts},
		},
		{check: "operator's token", namespace: a.names.Namespace, name: a.names.Operator(), desired: operator},
	}
	if user := a.dnsPodsUser(); user != "" {
		secrets = append(secrets, releaseSecret{
			check: "credential of the DNS pods", namespace: a.names.Namespace, name: a.names.DNS(),
			desired: &host.DNSSecret{
				Release: a.names, Bundle: a.bundle, User: user, ServiceRanges: a.facts.ServiceCIDR, Clock: clock.RealClock{},
			},
		})
	}
	if settings := a.values.ControlPlane.Advanced.Encryption; settings.Enabled && settings.KeySecret == "" {
		secrets = append(secrets, releaseSecret{
			check: "encryption keys", namespace: a.names.Namespace, name: a.names.Encryption(), desired: a.encryptionKeys, unowned: true,
		})
	}
	further, err := a.furtherSecrets(exported)
	if err != nil {
		return nil, err
	}
	all := &releaseSecrets{operator: operator, exported: exported}
	for _, secret := range append(secrets, further...) {
		all.keepers = append(all.keepers, &host.SecretKeeper{
			Client: a.ownClient, Namespace: secret.namespace, Name: secret.name, CheckName: secret.check, OfChart: secret.ofChart, Unowned: secret.unowned,
			Holder: a.holder, Desired: secret.desired, Clock: clock.RealClock{},
		})
	}
	return all, nil
}

// furtherSecrets returns the additional kubeconfig Secrets of the settings, and the one for Argo
// CD.
func (a *openApp) furtherSecrets(exported *host.ExportBindings) ([]releaseSecret, error) {
	var all []releaseSecret
	for _, further := range a.values.ExportKubeConfig.FurtherSecrets() {
		namespace := cmp.Or(further.Namespace, a.names.Namespace)
		if namespace == a.names.Namespace && isOwnName(a.names, further.Name) {
			return nil, fmt.Errorf("cannot export a kubeconfig to Secret %s/%s: names of the release begin with %s, choose another one",
				namespace, further.Name, a.names.Name)
		}
		all = append(all, releaseSecret{
			check: "kubeconfig in " + namespace + "/" + further.Name, namespace: namespace, name: further.Name,
			desired: a.kubeconfigSecret(exported, further), ofChart: true,
		})
	}
	if argo := a.values.Integrations.ArgoCD; argo.Enabled {
		name := a.names.ArgoCD()
		secret := &host.ArgoCDSecret{
			Name: name, Labels: argo.Labels, Bundle: a.bundle, Cluster: a.names.Namespace + "/" + a.names.Name,
			Server: fmt.Sprintf("https://%s.%s.svc", a.names.Service(), a.names.Namespace),
			Token: accountToken(exported, v1alpha1.ExportServiceAccount{
				Namespace: "kube-system", Name: argoCDAccount, ClusterRole: argo.ClusterRole,
			}),
		}
		all = append(all, releaseSecret{check: "Argo CD", namespace: argo.Namespace, name: name, desired: secret, ofChart: true})
	}
	return all, nil
}

// isOwnName reports whether the name of a Secret may be one of the release's own.
func isOwnName(names release.Release, name string) bool {
	return name == names.Name || strings.HasPrefix(name, names.Name+"-")
}

// kubeconfigSecret returns the desired kubeconfig Secret for the given settings. Empty settings
// default to those of the main kubeconfig.
func (a *openApp) kubeconfigSecret(exported *host.ExportBindings, settings v1alpha1.AdditionalSecret) *host.KubeconfigSecret {
	export := a.values.ExportKubeConfig
	address := a.address
	if settings.Server != "" {
		address = nil
	}
	return &host.KubeconfigSecret{
		Name: settings.Name, Labels: a.names.Labels(), Bundle: a.bundle, Clock: clock.RealClock{},
		Server:   cmp.Or(settings.Server, a.values.ExportedServer(), fmt.Sprintf("https://%s.%s", a.names.Service(), a.names.Namespace)),
		Address:  address,
		Context:  cmp.Or(settings.Context, export.Context, a.names.Name),
		Insecure: settings.Insecure, Token: accountToken(exported, settings.ServiceAccount),
	}
}

// accountToken returns the source of tokens of a service account, nil if account is empty. It
// adds the account to exported, from which the leader creates role bindings.
func accountToken(exported *host.ExportBindings, account v1alpha1.ExportServiceAccount) *host.AccountToken {
	if account.Name == "" {
		return nil
	}
	token := &host.AccountToken{
		Virtual: exported.Virtual, Namespace: cmp.Or(account.Namespace, "kube-system"), Name: account.Name,
		ClusterRole: account.ClusterRole, Clock: clock.RealClock{},
	}
	exported.Tokens = append(exported.Tokens, token)
	return token
}

// checkCerts returns why the data of a certs Secret cannot be used.
func checkCerts(data map[string][]byte) error {
	_, err := pki.FromSecret(data)
	return err
}
