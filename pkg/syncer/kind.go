package syncer

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// Kind is a named [Resource] without its type parameters, so that the engine can hold kinds
// of all types in one list. [Define] creates it. Its fields have the meaning of those of the
// Resource.
type Kind struct {
	name  string
	owner Side
	names translate.Scheme

	newVirtual, newHost func() client.Object
	selector            apilabels.Selector // nil means the host objects of this virtual cluster
	trim                func(host client.Object)
	isHeartbeat         func(before, after client.Object) bool // nil if every update may matter
	indexes             []Index
	places              []Place // nil means the host namespace
	createsNamespace    bool

	origin func(s Scope, host client.Object) (types.NamespacedName, bool)
	// findOriginal is nil for a kind whose host objects are named by names.
	findOriginal func(s Scope, virtual types.NamespacedName) (client.Object, error)
	// isCopy is nil for a kind that shares the type of its copies with no other.
	isCopy func(virtual client.Object) bool
	// want is never called without the owner's object. The other one may be nil.
	want         func(s Scope, virtual, host client.Object) (bool, error)
	down         func(s Scope, virtual, host client.Object) error
	up           func(s Scope, host, virtual client.Object) error
	beforeDelete func(s Scope, virtual client.Object) error
	// unselected is nil for a kind whose copies are deleted when they are no longer selected.
	unselected func(s Scope, virtual client.Object) (bool, error)
	// refused is nil for a kind that does not show refusals in its objects.
	refused func(s Scope, virtual client.Object, reason string)
	// refusedResize is nil for a kind that does not show refusals of a resize in its objects.
	refusedResize func(s Scope, virtual, host client.Object, reason string)

	// narrow is nil for a kind whose copies give no access that has to end.
	narrow func(host, wanted client.Object)

	evictedWithCopy bool
	started         func(s Scope, virtual, host client.Object) bool
	leastGrace      func(host client.Object) int64 // nil if every copy may go at once
	outlives        bool
	statusBlind     bool
	metadataOnly    bool
	compared        bool
	also            []Watch
	// load is nil for a kind that needs no state outside the two objects.
	load func(s Scope, virtual, host client.Object) (any, error)
	// lost is nil for a kind without a final state.
	lost func(s Scope, virtual client.Object) error
	// patch is nil for a kind without patches. undoPatch then undoes earlier ones.
	patch, undoPatch Patch

	problem error
}

// Name returns the name that the kind was defined under. Metrics, logs and /syncz use it.
func (k Kind) Name() string { return k.name }

// Owner returns the side that has the originals.
func (k Kind) Owner() Side { return k.owner }

// NewVirtual returns an empty virtual object of the kind.
func (k Kind) NewVirtual() client.Object { return k.newVirtual() }

// NewHost returns an empty host object of the kind.
func (k Kind) NewHost() client.Object { return k.newHost() }

// Watches returns the watches of other kinds that requeue objects of this one.
func (k Kind) Watches() []Watch { return k.also }

// SeesWholeHost reports whether the kind watches a namespaced type of the host everywhere.
func (k Kind) SeesWholeHost() bool {
	return slices.Contains(k.places, Place{Namespace: EveryNamespace})
}

// Indexes returns the indexes by which the kind lists objects.
func (k Kind) Indexes() []Index { return k.indexes }

// HasUp reports whether the kind writes to virtual objects that the tenant owns.
func (k Kind) HasUp() bool { return k.up != nil }

// Define creates a kind from a resource. An invalid resource is reported when the kind is
// added to an engine.
func Define[V, H client.Object](name string, r Resource[V, H]) Kind {
	k := Kind{
		name:       name,
		owner:      r.Owner,
		names:      r.Names,
		newVirtual: newEmptyFunc(r.NewVirtual),
		newHost:    newEmptyFunc(r.NewHost),
		selector:   r.Select,
		indexes:    r.Indexes,
		places:     r.Places,

		createsNamespace: r.CreatesNamespace,
		evictedWithCopy:  r.EvictedWithCopy,
		outlives:         r.Outlives,
		statusBlind:      r.StatusBlind,
		metadataOnly:     r.MetadataOnly,
		compared:         r.Compared,
		also:             r.Also,
		problem:          validate(name, r),
	}
	if r.IsHeartbeat != nil {
		k.isHeartbeat = func(before, after client.Object) bool { return r.IsHeartbeat(before.(H), after.(H)) }
	}
	if r.Trim != nil {
		k.trim = func(host client.Object) { r.Trim(host.(H)) }
	}
	k.origin = func(s Scope, host client.Object) (types.NamespacedName, bool) {
		if r.Origin != nil {
			return r.Origin(s, host.(H))
		}
		virtual, _, ours := translate.Origin(s.Cluster, r.Names, host)
		return virtual, ours
	}
	if r.FindOriginal != nil {
		k.findOriginal = func(s Scope, virtual types.NamespacedName) (client.Object, error) {
			host, found, err := r.FindOriginal(s, virtual)
			if err != nil || !found {
				return nil, err
			}
			return host, nil
		}
	}
	k.want = func(s Scope, virtual, host client.Object) (bool, error) {
		if r.Want == nil {
			return true, nil
		}
		return r.Want(s, typed[V](virtual), typed[H](host))
	}
	if r.Down != nil {
		k.down = func(s Scope, virtual, host client.Object) error { return r.Down(s, virtual.(V), host.(H)) }
	}
	if r.Up != nil {
		k.up = func(s Scope, host, virtual client.Object) error { return r.Up(s, host.(H), virtual.(V)) }
	}
	defineSteps(&k, r)
	return k
}

// defineSteps sets the functions that only few kinds have.
func defineSteps[V, H client.Object](k *Kind, r Resource[V, H]) {
	if r.IsCopy != nil {
		k.isCopy = func(virtual client.Object) bool { return r.IsCopy(virtual.(V)) }
	}
	if r.BeforeDelete != nil {
		k.beforeDelete = func(s Scope, virtual client.Object) error { return r.BeforeDelete(s, virtual.(V)) }
	}
	if r.Unselected != nil {
		k.unselected = func(s Scope, virtual client.Object) (bool, error) { return r.Unselected(s, virtual.(V)) }
	}
	if r.Refused != nil {
		k.refused = func(s Scope, virtual client.Object, reason string) { r.Refused(s, virtual.(V), reason) }
	}
	if r.RefusedResize != nil {
		k.refusedResize = func(s Scope, virtual, host client.Object, reason string) {
			r.RefusedResize(s, virtual.(V), host.(H), reason)
		}
	}
	if r.Narrow != nil {
		k.narrow = func(host, wanted client.Object) { r.Narrow(host.(H), wanted.(H)) }
	}
	if r.Started != nil {
		k.started = func(s Scope, virtual, host client.Object) bool { return r.Started(s, virtual.(V), typed[H](host)) }
	}
	if r.Load != nil {
		k.load = func(s Scope, virtual, host client.Object) (any, error) {
			return r.Load(s, typed[V](virtual), typed[H](host))
		}
	}
	if r.LeastGrace != nil {
		k.leastGrace = func(host client.Object) int64 { return r.LeastGrace(host.(H)) }
	}
	if r.Lost != nil {
		k.lost = func(s Scope, virtual client.Object) error { return r.Lost(s, virtual.(V)) }
	}
}

// kindRule is a rule for resources. %s in problem is the name of the kind.
type kindRule struct {
	broken  bool
	problem string
}

// validate returns what is wrong with a resource.
func validate[V, H client.Object](name string, r Resource[V, H]) error {
	var problems []error
	for _, rule := range append(evictionRules(r), []kindRule{
		{name == "", "a kind needs a name"},
		{r.Names == nil && r.FindOriginal == nil, "kind %s does not specify how its host objects are found"},
		{r.Owner == Virtual && (r.FindOriginal != nil || r.Names == nil), "kind %s belongs to the virtual side, whose host objects are found by name alone"},
		{r.Names == nil && r.Origin == nil, "kind %s does not specify which virtual object a host object is for"},
		{keepsCopiesWithoutName(r), "kind %s keeps copies of unselected host objects, which it does not find by name"},
		{r.Places != nil && r.Owner == Virtual, "kind %s watches places, but its host copies are all in the host namespace"},
	}...) {
		if rule.broken {
			problems = append(problems, errors.New(strings.ReplaceAll(rule.problem, "%s", name)))
		}
	}
	return errors.Join(problems...)
}

// evictionRules returns the rules for what a copy that evicts its virtual object allows.
func evictionRules[V, H client.Object](r Resource[V, H]) []kindRule {
	return []kindRule{
		{r.MetadataOnly && (r.Owner == Host || r.EvictedWithCopy), "kind %s needs the whole virtual object, its cache cannot have metadata only"},
		{r.LeastGrace != nil && !r.EvictedWithCopy, "kind %s has a least grace period but does not end with its host copy"},
		{r.Narrow != nil && (r.Owner == Host || r.EvictedWithCopy), "kind %s narrows host copies, which the engine must not delete"},
		{r.EvictedWithCopy && r.Started == nil, "kind %s ends with its host copy but does not specify when it had one"},
	}
}

// keepsCopiesWithoutName reports whether a resource keeps copies of unselected host objects,
// although the engine cannot find those objects by name.
func keepsCopiesWithoutName[V, H client.Object](r Resource[V, H]) bool {
	return r.Unselected != nil && (r.Owner != Host || r.FindOriginal != nil)
}

// newEmptyFunc returns a function that returns empty objects of type T.
func newEmptyFunc[T client.Object](given func() T) func() client.Object {
	if given != nil {
		return func() client.Object { return given() }
	}
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Pointer {
		return func() client.Object { return nil }
	}
	return func() client.Object { return reflect.New(t.Elem()).Interface().(client.Object) }
}

// typed returns object as a T. It returns a nil T for a nil object.
func typed[T client.Object](object client.Object) T {
	t, _ := object.(T)
	return t
}
