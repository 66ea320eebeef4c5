package kinds

import (
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// sameName is the origin of a host object that others made and that bears the
// same name in the virtual cluster.
func sameName[H client.Object](_ syncer.Scope, host H) (types.NamespacedName, bool) {
	return types.NamespacedName{Name: host.GetName()}, true
}

// proven is the origin of a host object that the engine made.
func proven[H client.Object](s syncer.Scope, host H) (types.NamespacedName, bool) {
	virtual, _, ours := translate.Origin(s.Cluster, translate.Hashed, host)
	return virtual, ours
}

// hostName is the name of the host copy of a namespaced virtual object.
func hostName(s syncer.Scope, namespace, name string) string {
	return translate.Hashed(s.Cluster, types.NamespacedName{Namespace: namespace, Name: name}).Name
}

// noKeys is Keys of a watch for a kind that is read but whose changes mean
// nothing.
func noKeys(syncer.Scope, client.Object) ([]types.NamespacedName, error) { return nil, nil }
