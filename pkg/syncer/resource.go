package syncer

import (
	"context"
	"time"

	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// Side is one of the two clusters of a sync.
type Side int

const (
	// Virtual is the cluster that the tenant sees.
	Virtual Side = iota
	// Host is the cluster that owns the real nodes.
	Host
)

// String returns the word for the side in logs and messages.
func (s Side) String() string {
	if s == Host {
		return "host"
	}
	return "virtual"
}

// Scope is what the functions of a [Resource] may read: who the virtual cluster is,
// and what the caches of both sides hold. It offers no way to write objects.
type Scope struct {
	// Context ends when the reconcile must end.
	Context context.Context //nolint:containedctx // A Scope lives as long as one reconcile.
	// Cluster is the identity of the virtual cluster on the host.
	Cluster translate.Cluster
	// Virtual and Host read from the caches of the two sides.
	Virtual, Host client.Reader
	// Now is the time at which the reconcile began.
	Now time.Time
	// Loaded is what the kind's Load returned, nil if it has none. [Loaded] reads it.
	Loaded any

	requeueAfter *time.Duration
	recordEvent  func(reason, message string)
}

// Loaded returns what the Load of a kind returned in this reconcile. It returns the zero
// T where nothing was loaded.
func Loaded[T any](s Scope) T {
	loaded, _ := s.Loaded.(T)
	return loaded
}

// RequeueAfter requests one more reconcile of the same object after d, for what time alone
// changes, such as a token that must be renewed. The shortest d counts.
func (s Scope) RequeueAfter(d time.Duration) {
	if s.requeueAfter != nil && (*s.requeueAfter == 0 || d < *s.requeueAfter) {
		*s.requeueAfter = d
	}
}

// RecordEvent records a warning Event on the virtual object for the tenant. Only Up may use it,
// and only for what its result makes true. The next reconcile then finds nothing more to
// do, so that the Event is recorded once.
func (s Scope) RecordEvent(reason, message string) {
	if s.recordEvent != nil {
		s.recordEvent(reason, message)
	}
}

// Resource describes how one kind is synced. Its functions read and fill in objects. The
// [Engine] alone creates, patches, deletes, requeues and records events. The functions are
// level-triggered: they see both sides as they are now and must not remember anything.
//
// V and H are the same type for most kinds. They differ where an object needs one of
// another kind on the other side, as a pod needs a Secret for its token.
//
// Down, Up, BeforeDelete, Lost and Refused get copies and may keep parts of one object in
// the other. All other functions get objects of the caches and must not change them. What
// they read through the [Scope] on the host must be a kind that the engine watches for
// them: their own, or one of Also. It is an error otherwise, so that no kind depends on
// host objects that it declares nowhere.
type Resource[V, H client.Object] struct {
	// Owner is the side whose copy is the truth. The engine creates, changes and deletes
	// the copy on the other side to follow it.
	Owner Side

	// Names is the scheme of the names of host objects. It also decides their namespace
	// and scope. A host copy outside the cluster's host namespace gets no owner reference:
	// the host's garbage collector would delete it at once. See [SweepCopies].
	Names translate.Scheme

	// NewVirtual and NewHost return empty objects. nil means new(V) and new(H), which fits
	// everything but unstructured objects.
	NewVirtual func() V
	NewHost    func() H

	// Origin returns the virtual key of a host object, and false for a host object that is
	// not the copy of any. nil means [translate.Origin], which proves what the annotations
	// of the host object claim.
	Origin func(s Scope, host H) (types.NamespacedName, bool)

	// Source returns the host object behind a virtual key, false if there is none. It is for
	// kinds of the host whose virtual object has another name, or is made up from several
	// host objects. It reads s.Host through an index of Indexes. Of several host objects it
	// returns the same one for the same cache. The engine then does not use Names. nil means
	// that Names leads to the host object.
	Source func(s Scope, virtual types.NamespacedName) (H, bool, error)

	// IsCopy reports whether a virtual object with the annotation [labels.HostUID] is a copy of
	// this kind. It is for kinds of the host whose copies are of one type, and they must agree.
	// nil means that each is.
	IsCopy func(virtual V) bool

	// Select narrows the watch of the host objects. nil means those with the label
	// [labels.Cluster] of this virtual cluster. Kinds whose host objects others create,
	// such as nodes and events, set it. Namespaced objects are watched in the host
	// namespace alone.
	Select apilabels.Selector

	// Places are where the host objects are watched, for kinds whose host objects are not in
	// the host namespace. Then s.Host has what these watches hold. nil means the host
	// namespace, or the whole host for kinds without a namespace.
	Places []Place

	// CreatesNamespace is true if the namespace of a virtual copy is created with it. The
	// default is to wait until somebody else creates it.
	CreatesNamespace bool

	// Trim drops from a host object what the kind never reads, before the cache
	// keeps it. The engine itself drops managedFields. Kinds that share a type of
	// host object share its cache: at most one of them sets Trim.
	Trim func(host H)

	// IsHeartbeat reports whether an update of a host object means nothing to the kind,
	// so that it causes no reconcile. nil means that every update may matter.
	IsHeartbeat func(before, after H) bool

	// Indexes are what Source, Want, Down, Up and Also list objects by. The
	// engine adds them to the caches; kinds may ask for the same one.
	Indexes []Index

	// StatusBlind is true if the kind does not use the status of the virtual object. An
	// update that changes nothing else does not requeue it. It works for kinds whose API
	// server counts generations. Default false.
	StatusBlind bool

	// MetadataOnly caches the metadata of virtual objects alone, for kinds of the
	// virtual side of whose objects most have no copy. The virtual objects that
	// Origin, Load and Want get have no body; Down and Up get one that the engine reads
	// from the API server. Default: whole objects are cached.
	MetadataOnly bool

	// Load returns state outside the two objects that the other functions need, such as
	// the proposal of a scheduler or a live read. The engine calls it once per reconcile,
	// before Want, so that all functions decide from the same state. They get it from
	// [Loaded]. One of the objects may be nil. nil means that the kind needs none.
	Load func(s Scope, virtual V, host H) (any, error)

	// Want reports whether there should be a copy. The owner's object exists. The other one
	// is nil where it does not exist yet. nil means that every object gets a copy. The copy
	// of an object that is no longer wanted is deleted.
	Want func(s Scope, virtual V, host H) (bool, error)

	// Down fills in the host copy from the virtual object. host is the copy as it is now,
	// or an empty object with the name, labels and annotations of its identity. The engine
	// sends the difference. nil means that nothing goes down.
	Down func(s Scope, virtual V, host H) error

	// Up fills in the virtual copy from the host object, mostly the status. It runs and is
	// written independently of Down: neither waits for the other. nil means that nothing
	// goes up. Of a kind that the host owns, virtual is an empty object with its name and
	// its labels.HostUID annotation if it does not exist yet.
	Up func(s Scope, host H, virtual V) error

	// BeforeDelete fills in the virtual copy of a host object that is gone, before the copy
	// is deleted. It runs again while the deletion waits for finalizers. Controllers may hold a
	// copy until it shows that nobody uses it any more, as with a volume. nil means that
	// nothing changes.
	BeforeDelete func(s Scope, virtual V) error

	// Unselected fills in the virtual copy of a host object that exists and that the watch no
	// longer selects. It reports whether the copy stays, because others need it. The engine asks
	// again when a watch of Also requeues it. It needs Owner Host and no Source. nil means that
	// none stays.
	Unselected func(s Scope, virtual V) (bool, error)

	// Refused fills in the virtual object when the host refuses to have a copy of it, for
	// reason. An Event is recorded in any case. nil means that nothing else is needed.
	Refused func(s Scope, virtual V, reason string)

	// EndsWithHost is true if the virtual object ends when somebody else deletes its host
	// copy, once Started reports that it had one. Only pods do so. Otherwise a lost host
	// copy is created again.
	EndsWithHost bool
	// Started reports whether the virtual object has had a host copy that may have run. host
	// is the copy, or the last state of it that this process has seen; nil if it has seen
	// none. Needed with EndsWithHost.
	Started func(s Scope, virtual V, host H) bool
	// Lost fills in the final state of a virtual object whose host copy is gone, before it
	// is deleted. It must change nothing of an object that has a final state. It needs
	// EndsWithHost. nil means that the kind has no such state.
	Lost func(s Scope, virtual V) error

	// LeastGrace returns the shortest grace period, in seconds, that the engine deletes a host
	// copy with when the deletion of the virtual object is forced. It needs EndsWithHost. nil
	// means 0.
	LeastGrace func(host H) int64

	// Outlives is true if the copy stays when the owner's object is gone. Events do, which the
	// API server of each side lets expire. The engine then never deletes a copy.
	Outlives bool

	// Also lists other kinds whose change requeues objects of this one.
	Also []Watch
}

// Watch requeues objects of a kind when an object of another kind changes.
type Watch struct {
	// Side is where the other kind is watched.
	Side Side
	// Object is an empty object of the other kind.
	Object client.Object
	// All watches host objects of others too: those of the host namespace, or of the whole
	// host if they have none. By default only those with our label are watched. It means
	// nothing on the virtual side.
	All bool
	// StatusBlind is true if the status of the other objects is not used, as in [Resource].
	StatusBlind bool
	// KeysOnly is true if nothing of the other objects is used but their keys. An update
	// that keeps the keys is ignored.
	KeysOnly bool
	// Keys returns the virtual keys to reconcile when object has changed. If it
	// fails, it is called again after a backoff: no event is lost.
	Keys func(s Scope, object client.Object) ([]types.NamespacedName, error)
}

// Index lets a [Resource] list cached objects with client.MatchingFields, in time
// that does not grow with the number of objects.
type Index struct {
	// Side is where the objects are.
	Side Side
	// Object is an empty object of their kind.
	Object client.Object
	// Field is the name of the index. Two indexes of one kind and side with the
	// same name are the same index.
	Field string
	// Values are what object is found by. It must depend on object alone.
	Values func(object client.Object) []string
}
