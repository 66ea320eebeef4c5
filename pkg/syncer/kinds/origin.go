package kinds

import (
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// sameName returns the virtual key of a cluster-scoped host object whose copy has the same name.
func sameName[H client.Object](_ syncer.Scope, host H) (types.NamespacedName, bool) {
	return types.NamespacedName{Name: host.GetName()}, true
}

// provenOrigin returns the virtual key of a host object. ok is false if it is not our copy.
func provenOrigin[H client.Object](s syncer.Scope, host H) (types.NamespacedName, bool) {
	virtual, _, ours := translate.Origin(s.Cluster, translate.Hashed, host)
	return virtual, ours
}

// hostName returns the name of the host copy of a namespaced virtual object.
func hostName(s syncer.Scope, namespace, name string) string {
	return translate.Hashed(s.Cluster, types.NamespacedName{Namespace: namespace, Name: name}).Name
}

// noKeys returns no keys. It is for objects that a kind reads but whose changes it ignores.
func noKeys(syncer.Scope, client.Object) ([]types.NamespacedName, error) { return nil, nil }
