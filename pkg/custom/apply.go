package custom

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// Problem is a field that may refer to what is not the tenant's.
type Problem struct {
	// Path is the path of the field, as in spec.peers[0].namespace.
	Path string
	// Value is what it has, empty for a whole object.
	Value string
	// Detail is what is wrong, and what to do.
	Detail string
	// Setting is the path of the setting that can change this, empty if none can.
	Setting string
}

// Refs are the names of objects in the namespace of the object that refers to them.
type Refs struct {
	ConfigMaps, Secrets []string
	// Produced are the Secrets that the host writes.
	Produced []string
}

// Check returns the problems of an object of a virtual namespace, at most [maxProblems]. It does not change it.
func (p *Plan) Check(object map[string]any, namespace string) []Problem {
	w := walk{plan: p, purpose: collectProblems, namespace: namespace}
	w.checkAllowed(p.allowed, object, "")
	refused := w.problems
	w.visit(p.root, object, "", nil)
	w.checkQuantities(p.quantities, object, "")
	return withoutBelow(w.problems, refused)
}

// Refs returns the ConfigMaps and Secrets that an object refers to, sorted.
func (p *Plan) Refs(object map[string]any) Refs {
	w := walk{plan: p, purpose: collectRefs}
	w.visit(p.root, object, "", nil)
	slices.Sort(w.refs.ConfigMaps)
	slices.Sort(w.refs.Secrets)
	slices.Sort(w.refs.Produced)
	return Refs{
		ConfigMaps: slices.Compact(w.refs.ConfigMaps), Secrets: slices.Compact(w.refs.Secrets),
		Produced: slices.Compact(w.refs.Produced),
	}
}

// ToHost renames what an object of a virtual namespace refers to. It changes object, which must
// have no problem.
func (p *Plan) ToHost(object map[string]any, namespace string, cluster translate.Cluster, resource string) {
	w := walk{plan: p, purpose: renameToHost, namespace: namespace, cluster: cluster, resource: resource}
	w.visit(p.root, object, "", nil)
}

// HostNames are the names on the host of what an object of a virtual namespace refers to.
type HostNames struct {
	// Own maps names in the namespace of the copies -> names in the virtual namespace.
	Own map[string]string
	// Mapped maps objects that the host shows -> their copies.
	Mapped map[types.NamespacedName]types.NamespacedName
}

// HostNames returns the names on the host of what an object of a virtual namespace refers to.
func (p *Plan) HostNames(object map[string]any, namespace string, cluster translate.Cluster, resource string) HostNames {
	w := walk{plan: p, purpose: collectHostNames, namespace: namespace, cluster: cluster, resource: resource}
	w.names = HostNames{Own: map[string]string{}, Mapped: map[types.NamespacedName]types.NamespacedName{}}
	w.visit(p.root, object, "", nil)
	return w.names
}

// Role returns the role of the host copies of Secrets and ConfigMaps that objects of a custom
// resource refer to, for [translate.Derived].
func Role(resource string) string { return "of " + resource }

// ProducedRole returns the role of the Secrets that the host writes for objects of a custom
// resource. No copy of a tenant's Secret ever has such a name.
func ProducedRole(resource string) string { return "from " + resource }

// Produces reports whether the host writes Secrets for objects of the kind.
func (p *Plan) Produces() bool {
	return p.root.hasTarget(func(t target) bool { return t.produced })
}

// Names reports whether a field names objects of a resource, such as secrets, that the tenant
// has.
func (p *Plan) Names(resource string) bool {
	return p.root.hasTarget(func(t target) bool { return t.resource == resource && !t.produced })
}
