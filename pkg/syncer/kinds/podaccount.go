package kinds

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// serviceAccountsSetting is the path of the settings of the tenant's service accounts.
const serviceAccountsSetting = "sync.toHost.serviceAccounts"

// byAccount is the field of the index of virtual pods by their service account.
const byAccount = "spec.serviceAccountName"

// podsByAccount returns the index of virtual pods by their service account.
func podsByAccount() syncer.Index {
	return podIndex(byAccount, func(pod *corev1.Pod) []string { return []string{pod.Spec.ServiceAccountName} })
}

// hostAccount returns the host service account of a pod: the copy of its own, or the one of
// all tenants' pods.
func (p *pods) hostAccount(s syncer.Scope, virtual *corev1.Pod) string {
	if virtual.Spec.ServiceAccountName == "" || !p.options.Sync.IsEnabled(serviceAccountsSetting) {
		return p.options.WorkloadServiceAccount
	}
	return hostName(s, virtual.Namespace, virtual.Spec.ServiceAccountName)
}

// awaitsAccount reports whether a pod waits for the copy of its service account. The host
// refuses a pod whose account does not exist.
func (p *pods) awaitsAccount(s syncer.Scope, virtual *corev1.Pod) (bool, error) {
	name := p.hostAccount(s, virtual)
	if name == p.options.WorkloadServiceAccount {
		return false, nil
	}
	found, err := lookUp(s, syncer.Host, types.NamespacedName{Namespace: s.Cluster.Namespace, Name: name}, &corev1.ServiceAccount{})
	return !found && err == nil, err
}
