package syncer

import (
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
)

// Place is a namespace of the host, or a single object in it.
type Place struct {
	// Namespace is the namespace. Empty is the host namespace of the virtual cluster, and
	// [EveryNamespace] the whole host.
	Namespace string
	// Name is the name of the only object to watch. Empty means all of the namespace.
	Name string
}

// EveryNamespace is the namespace of a [Place] that is the whole host.
const EveryNamespace = "*"

// withNamespace returns the place with its namespace filled in.
func (p Place) withNamespace(namespace string) Place {
	if p.Namespace == "" {
		p.Namespace = namespace
	}
	return p
}

// covers reports whether an object is in the place.
func (p Place) covers(key types.NamespacedName) bool {
	return p.Namespace == key.Namespace && (p.Name == "" || p.Name == key.Name)
}

// isPart reports whether the place is only a part of the host.
func (p Place) isPart() bool { return p != (Place{}) && p.Namespace != EveryNamespace }

// fields returns the selector of the objects of the place, nil for all.
func (p Place) fields() fields.Selector {
	if !p.isPart() {
		return nil
	}
	namespace := fields.OneTermEqualSelector("metadata.namespace", p.Namespace)
	if p.Name == "" {
		return namespace
	}
	return fields.AndSelectors(namespace, fields.OneTermEqualSelector("metadata.name", p.Name))
}

// String returns the place as it is written in settings.
func (p Place) String() string {
	if p.Name == "" {
		return p.Namespace + "/*"
	}
	return p.Namespace + "/" + p.Name
}
