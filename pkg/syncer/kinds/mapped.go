package kinds

import (
	"cmp"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// publishedCA is the ConfigMap with the CA of the API server that each cluster publishes in
// each of its namespaces.
const publishedCA = "kube-root-ca.crt"

// mappings are the configured mappings of host objects to virtual keys.
type mappings []v1alpha1.Mapping

// virtualKey returns the key of the copy of a host object. ok is false if it has none. The
// entries for single objects come first, so that a name wins over a whole namespace.
func (m mappings) virtualKey(s syncer.Scope, host client.Object) (key types.NamespacedName, ok bool) {
	if host.GetLabels()[labels.Cluster] != "" || host.GetName() == publishedCA {
		// It is the copy of a virtual object, or the CA that every namespace has anyway.
		return key, false
	}
	for _, e := range m {
		if hostNamespace(s, e) != host.GetNamespace() || e.HostName != "" && e.HostName != host.GetName() {
			continue
		}
		if e.HostName == "" && host.GetNamespace() == s.Cluster.Namespace {
			return key, false // The release keeps its own Secrets there.
		}
		key = types.NamespacedName{Namespace: e.Namespace, Name: cmp.Or(e.Name, host.GetName())}
		return key, key.Name != publishedCA
	}
	return key, false
}

// hostKeys returns the keys of the host objects that may have a copy under a virtual key.
func (m mappings) hostKeys(s syncer.Scope, virtual types.NamespacedName) []types.NamespacedName {
	var keys []types.NamespacedName
	for _, e := range m {
		switch {
		case e.Namespace != virtual.Namespace:
		case e.HostName == "":
			keys = append(keys, types.NamespacedName{Namespace: hostNamespace(s, e), Name: virtual.Name})
		case e.Name == virtual.Name || e.Name == "" && e.HostName == virtual.Name:
			keys = append(keys, types.NamespacedName{Namespace: hostNamespace(s, e), Name: e.HostName})
		}
	}
	return keys
}

// places returns where the host objects are.
func (m mappings) places() []syncer.Place {
	places := make([]syncer.Place, 0, len(m))
	for _, e := range m {
		places = append(places, syncer.Place{Namespace: e.HostNamespace, Name: e.HostName})
	}
	return places
}

// hostNamespace returns the namespace of the host objects of an entry.
func hostNamespace(s syncer.Scope, e v1alpha1.Mapping) string {
	return cmp.Or(e.HostNamespace, s.Cluster.Namespace)
}

// mapped returns the resource of a kind whose host objects are configured by mappings. passes reports
// whether the tenant may see an object at all, and up fills in the copy.
func mapped[T client.Object](settings v1alpha1.Mapped, empty func() T, passes func(T) bool, up func(host, virtual T)) syncer.Resource[T, T] {
	m := mappings(settings.Mappings.List())
	origin := func(s syncer.Scope, host T) (types.NamespacedName, bool) {
		key, ok := m.virtualKey(s, host)
		return key, ok && passes(host)
	}
	return syncer.Resource[T, T]{
		Owner:  syncer.Host,
		Names:  translate.Same, // Not used, because there is a FindOriginal.
		Origin: origin,
		FindOriginal: func(s syncer.Scope, virtual types.NamespacedName) (T, bool, error) {
			for _, key := range m.hostKeys(s, virtual) {
				host := empty()
				err := s.Host.Get(s.Context, key, host)
				if err != nil && !apierrors.IsNotFound(err) {
					return host, false, fmt.Errorf("cannot get %s of the host: %w", key, err)
				}
				if origin, ok := origin(s, host); err == nil && ok && origin == virtual {
					return host, true, nil
				}
			}
			return empty(), false, nil
		},
		Select:           apilabels.Everything(),
		Places:           m.places(),
		CreatesNamespace: true,
		Want:             isOfOriginal[T],
		Up: func(_ syncer.Scope, host, virtual T) error {
			copyMetadata(host, virtual)
			up(host, virtual)
			return nil
		},
	}
}
