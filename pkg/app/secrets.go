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

// argoCDAccount is the service account of Argo CD in the virtual cluster.
const argoCDAccount = "sublet-argocd"

// releaseSecret is a Secret that the server writes.
type releaseSecret struct {
	check, namespace, name string
	desired                host.WantSecret
	// ofChart is true if the chart creates it.
	ofChart bool
}

// buildSecrets builds the keepers of the Secrets of the release.
func (a *app) buildSecrets() error {
	a.operator = &host.OperatorSecret{Release: a.names, CA: a.bundle.CA()}
	virtual, err := kubernetes.NewForConfig(a.controlPlane.ClientConfig(exportUser, pki.GroupAdmins))
	if err != nil {
		return err
	}
	a.exported = &host.ExportBindings{Virtual: virtual, Clock: clock.RealClock{}}
	export := a.values.ExportKubeConfig
	kubeconfig := a.kubeconfigSecret(virtual, v1alpha1.AdditionalSecret{
		Name: a.names.Kubeconfig(), Insecure: export.Insecure, ServiceAccount: export.ServiceAccount,
	})
	kubeconfig.OnExpiry = func(end time.Time) { controlplane.RecordExpiry("kubeconfig", end) }
	secrets := []releaseSecret{
		{"kubeconfig", a.names.Namespace, a.names.Kubeconfig(), kubeconfig, false},
		{"certificates", a.names.Namespace, a.names.Certs(), &host.CertsSecret{Name: a.names.Certs(), Data: a.facts.Certs}, false},
		{"operator's token", a.names.Namespace, a.names.Operator(), a.operator, false},
	}
	if user := a.dnsPodsUser(); user != "" {
		secrets = append(secrets, releaseSecret{"credential of the DNS pods", a.names.Namespace, a.names.DNS(), &host.DNSSecret{
			Release: a.names, Bundle: a.bundle, User: user, ServiceRanges: a.facts.ServiceCIDR, Clock: clock.RealClock{},
		}, false})
	}
	further, err := a.furtherSecrets(virtual)
	if err != nil {
		return err
	}
	for _, secret := range append(secrets, further...) {
		a.secrets = append(a.secrets, &host.SecretKeeper{
			Client: a.hostClient, Namespace: secret.namespace, Name: secret.name, CheckName: secret.check, OfChart: secret.ofChart,
			Holder: a.holder, Desired: secret.desired, Clock: clock.RealClock{},
		})
	}
	return nil
}

// furtherSecrets returns the Secrets that the settings name.
func (a *app) furtherSecrets(virtual kubernetes.Interface) ([]releaseSecret, error) {
	var all []releaseSecret
	for _, further := range a.values.ExportKubeConfig.FurtherSecrets() {
		namespace := cmp.Or(further.Namespace, a.names.Namespace)
		if namespace == a.names.Namespace && isOwnName(a.names, further.Name) {
			return nil, fmt.Errorf("cannot export a kubeconfig to Secret %s/%s: names of the release begin with %s, choose another one",
				namespace, further.Name, a.names.Name)
		}
		all = append(all, releaseSecret{
			"kubeconfig in " + namespace + "/" + further.Name, namespace, further.Name, a.kubeconfigSecret(virtual, further), true,
		})
	}
	if argo := a.values.Integrations.ArgoCD; argo.Enabled {
		name := a.names.ArgoCD()
		all = append(all, releaseSecret{"Argo CD", argo.Namespace, name, &host.ArgoCDSecret{
			Name: name, Labels: argo.Labels, Bundle: a.bundle, Cluster: a.names.Namespace + "/" + a.names.Name,
			Server: fmt.Sprintf("https://%s.%s.svc", a.names.Service(), a.names.Namespace),
			Token: a.accountToken(virtual, v1alpha1.ExportServiceAccount{
				Namespace: "kube-system", Name: argoCDAccount, ClusterRole: argo.ClusterRole,
			}),
		}, true})
	}
	return all, nil
}

// isOwnName reports whether a Secret of that name may belong to the release.
func isOwnName(names release.Release, name string) bool {
	return name == names.Name || strings.HasPrefix(name, names.Name+"-")
}

// kubeconfigSecret returns how a kubeconfig should be. What the settings of a further one leave
// empty is as in the first one.
func (a *app) kubeconfigSecret(virtual kubernetes.Interface, settings v1alpha1.AdditionalSecret) *host.KubeconfigSecret {
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
		Insecure: settings.Insecure, Token: a.accountToken(virtual, settings.ServiceAccount),
	}
}

// accountToken returns the source of tokens of a service account, nil without one. It is noted
// among those that are exported.
func (a *app) accountToken(virtual kubernetes.Interface, account v1alpha1.ExportServiceAccount) *host.AccountToken {
	if account.Name == "" {
		return nil
	}
	token := &host.AccountToken{
		Virtual: virtual, Namespace: cmp.Or(account.Namespace, "kube-system"), Name: account.Name,
		ClusterRole: account.ClusterRole, Clock: clock.RealClock{},
	}
	a.exported.Tokens = append(a.exported.Tokens, token)
	return token
}
