package syncer

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Owner returns the side that has the originals.
func (k Kind) Owner() Side { return k.owner }

// NewVirtual returns an empty virtual object of the kind.
func (k Kind) NewVirtual() client.Object { return k.newVirtual() }

// NewHost returns an empty host object of the kind.
func (k Kind) NewHost() client.Object { return k.newHost() }

// Watches returns the watches of other kinds that requeue objects of this one.
func (k Kind) Watches() []Watch { return k.also }

// IsClusterScoped reports whether objects of a kind have no namespace. It knows those that
// are built in or that Sublet has definitions of.
func IsClusterScoped(kind schema.GroupKind) bool { return clusterScoped().Has(kind) }

// SeesWholeHost reports whether the kind watches a namespaced type of the host everywhere.
func (k Kind) SeesWholeHost() bool {
	return slices.Contains(k.places, Place{Namespace: EveryNamespace})
}

// Indexes returns the indexes by which the kind lists objects.
func (k Kind) Indexes() []Index { return k.indexes }

// HasUp reports whether the kind writes to virtual objects that the tenant owns.
func (k Kind) HasUp() bool { return k.up != nil }
