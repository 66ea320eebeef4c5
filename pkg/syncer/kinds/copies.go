package kinds

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
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

// sameHost is false for a virtual copy of a host object that was deleted and made
// again under its name. Its fields may be ones that never change in an object's
// life, so the copy is made anew as well.
func sameHost[V interface {
	comparable
	client.Object
}](virtual V, host client.Object) bool {
	var none V
	if virtual == none {
		return true
	}
	uid, copied := virtual.GetAnnotations()[labels.HostUID]
	return !copied || uid == string(host.GetUID())
}

// passedAnnotations is a host object's annotations without those that tools and
// Sublet itself keep there for the host's copy alone: the host may be a virtual
// cluster too.
func passedAnnotations(host map[string]string) map[string]string {
	passed := make(map[string]string, len(host))
	maps.Copy(passed, host)
	delete(passed, corev1.LastAppliedConfigAnnotation)
	delete(passed, labels.HostUID)
	delete(passed, labels.Agreed)
	delete(passed, labels.Tenant)
	return passed
}

// hostName is the name of the host copy of a namespaced virtual object.
func hostName(s syncer.Scope, namespace, name string) string {
	return translate.Hashed(s.Cluster, types.NamespacedName{Namespace: namespace, Name: name}).Name
}

// noKeys is Keys of a watch for a kind that is read but whose changes mean
// nothing.
func noKeys(syncer.Scope, client.Object) ([]types.NamespacedName, error) { return nil, nil }
