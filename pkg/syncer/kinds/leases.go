package kinds

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Leases copies the tenant's Leases to the host, so that tools there can read who holds them. Changes
// of a copy on the host are reverted.
//
// Leases in kube-node-lease and kube-system are not copied. They are heartbeats of nodes and of the
// virtual control plane.
func Leases(Options) syncer.Resource[*coordinationv1.Lease, *coordinationv1.Lease] {
	return syncer.Resource[*coordinationv1.Lease, *coordinationv1.Lease]{
		Owner: syncer.Virtual,
		Names: translate.Hashed,
		Want: func(_ syncer.Scope, virtual, _ *coordinationv1.Lease) (bool, error) {
			return virtual.Namespace != corev1.NamespaceNodeLease && virtual.Namespace != metav1.NamespaceSystem, nil
		},
		Down: func(_ syncer.Scope, virtual, host *coordinationv1.Lease) error {
			host.Labels = translate.SyncLabels(host.Labels, virtual.Labels)
			host.Spec = virtual.Spec
			return nil
		},
	}
}
