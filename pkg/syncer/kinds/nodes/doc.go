// Package nodes decides who owns which field of a node that a host and a tenant
// both write.
//
// The host's fields are shown and never changed in the virtual cluster alone. The
// tenant owns every key that the host does not have. Annotations of the virtual
// node record what is the host's ([labels.LastApplied]) and which values of the tenant
// are hidden ([labels.Tenant]).
//
// [Rules] decide about a tenant's write: deny it, keep it on the virtual node, or
// pass it to the host. [Real] and [Pseudo] are the two kinds that write virtual nodes.
package nodes

import "github.com/sublet-dev/sublet/api/labels"

// ownKeys returns the annotations of a virtual node that Sublet alone writes.
func ownKeys() []string { return []string{labels.HostUID, labels.LastApplied, labels.Tenant} }
