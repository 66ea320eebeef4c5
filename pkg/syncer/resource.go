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

// Scope gives the functions of a [Resource] read access to the identity of the virtual cluster
// and to the caches of both sides. It offers no way to write objects.
type Scope struct {
	// Context ends when the reconcile must end.
	Context context.Context //nolint:containedctx // A Scope lives as long as one reconcile.
	// Cluster is the identity of the virtual cluster on the host.
	Cluster translate.Cluster
	// Virtual and Host read from the caches of the two sides.
	Virtual, Host client.Reader
	// LiveVirtual reads from the virtual API server, for what a late cache must not decide. Each call is a request.
	LiveVirtual client.Reader
	// Now is the time at which the reconcile began.
	Now time.Time
	// Loaded is what the kind's Load returned, nil if it has none. [Loaded] reads it.
	Loaded any

	requeueAfter *time.Duration
	recordEvent  func(reason, message string)
	isCopied     func(virtual, host client.Object) bool // nil if nothing compares
}

// Loaded returns what the Load of a kind returned in this reconcile. It returns the zero
// T where nothing was loaded.
func Loaded[T any](s Scope) T {
	loaded, _ := s.Loaded.(T)
	return loaded
}

// RequeueAfter requests another reconcile of the same object after d. It is for changes that
// come with time and not with an event, such as the renewal of a token. The shortest d of
// all calls counts.
func (s Scope) RequeueAfter(d time.Duration) {
	if s.requeueAfter != nil && (*s.requeueAfter == 0 || d < *s.requeueAfter) {
		*s.requeueAfter = d
	}
}

// IsCopied reports whether a kind with Compared has found these versions of a virtual object and
// its host copy equal. It returns true if there is no such kind. It sends no request.
func (s Scope) IsCopied(virtual, host client.Object) bool {
	return s.isCopied == nil || s.isCopied(virtual, host)
}

// RecordEvent records a warning Event on the virtual object for the tenant. Only Up may call it,
// and only for a change that it makes itself. The next reconcile then finds nothing to change,
// so the Event is recorded once.
func (s Scope) RecordEvent(reason, message string) {
	if s.recordEvent != nil {
		s.recordEvent(reason, message)
	}
}

// Resource describes how one kind is synced. Its functions only read objects and fill in
// copies. The [Engine] alone creates, patches, deletes, requeues and records Events. The
// functions are level-triggered: they see the current state of both sides and must not
// remember anything.
//
// V and H are the virtual and the host type. They are the same for most kinds. They differ
// where the copy has another type, as the Secret with the tokens of a pod.
//
// Down, Up, BeforeDelete, Narrow, Lost, Refused and RefusedResize get deep copies, and may share parts between them.
// All other functions get objects of the caches and must not change them. Through the [Scope],
// they may only read host objects that the engine watches for the kind: its own, and those of
// Also. Other reads fail, so that each kind declares all that it depends on.
type Resource[V, H client.Object] struct {
	// Owner is the side that has the originals. The engine creates, updates and deletes the
	// copies on the other side accordingly.
	Owner Side

	// Names maps the virtual key to the name and namespace of the host object. A host copy
	// outside the cluster's host namespace gets no owner reference, because the host's garbage
	// collector would delete it at once.
	Names translate.Scheme

	// NewVirtual and NewHost return empty objects. nil means new objects of the types V and H.
	// Only unstructured objects need them.
	NewVirtual func() V
	NewHost    func() H

	// Origin returns the virtual key of a host object, and false for a host object that does
	// not belong to any. nil means [translate.Origin], which verifies the annotations of the
	// host object.
	Origin func(s Scope, host H) (types.NamespacedName, bool)

	// FindOriginal returns the host object behind a virtual key, and false if there is none. It is for
	// kinds of the host whose virtual object has another name or several originals. The engine
	// then does not use Names. FindOriginal reads s.Host through one of Indexes. Among several
	// originals, it must always choose the same one. nil means that Names finds the host object.
	FindOriginal func(s Scope, virtual types.NamespacedName) (H, bool, error)

	// IsCopy reports whether a virtual object with the annotation [labels.HostUID] is a copy of
	// this kind. It is for kinds of the host whose copies have the same type: each copy must
	// belong to exactly one of them. nil means that all such objects are copies of this kind.
	IsCopy func(virtual V) bool

	// Select is the label selector of the watch of host objects. nil selects those with the
	// label [labels.Cluster] of this virtual cluster. Kinds whose host objects are created by
	// others, such as nodes and events, set it. Namespaced objects are only watched in the host
	// namespace.
	Select apilabels.Selector

	// Places are the places where host objects are watched, for kinds whose host objects are
	// not in the host namespace. s.Host then reads from these watches. nil means the host
	// namespace, or the whole host for cluster-scoped kinds.
	Places []Place

	// CreatesNamespace is true if the engine creates a missing namespace for a virtual copy.
	// Default: there is no copy until somebody else creates the namespace.
	CreatesNamespace bool

	// Trim removes fields that the kind never reads from a host object before it is cached. The
	// engine itself removes managedFields. Kinds with the same type of host object share its
	// cache, which applies the Trim of each. So none may remove what another one reads.
	Trim func(host H)

	// IsHeartbeat reports whether an update of a host object is irrelevant to the kind, so that
	// it causes no reconcile. nil means that all updates are relevant.
	IsHeartbeat func(before, after H) bool

	// Indexes are the indexes by which the functions list cached objects. Several kinds may use
	// the same one.
	Indexes []Index

	// StatusBlind is true if the kind ignores the status of the virtual object. An update of
	// nothing but the status then causes no reconcile. It has no effect on types without
	// metadata.generation. Default: false.
	StatusBlind bool

	// MetadataOnly caches only the metadata of virtual objects. It is for kinds of the virtual
	// side most of whose objects have no copy. Load and Want then get virtual objects without
	// a body. For Down and Up, the engine reads the whole object from the API server. Default:
	// whole objects are cached.
	MetadataOnly bool

	// Compared is true if other kinds wait for copies with the current content of their virtual
	// objects, see [Scope.IsCopied]. The engine then remembers which versions were equal. Default: false.
	Compared bool

	// Load returns further state that the other functions need, such as the proposal of a
	// scheduler or the result of a live read. The engine calls it once per reconcile, before
	// Want, so that all functions decide by the same state. They get it from [Loaded]. One of
	// the two objects may be nil. A nil Load means that the kind needs no such state.
	Load func(s Scope, virtual V, host H) (any, error)

	// Want reports whether the original should have a copy. The copy is nil if it does not
	// exist. A copy that is no longer wanted is deleted. A nil Want means that every original
	// has a copy.
	Want func(s Scope, virtual V, host H) (bool, error)

	// Down fills in the host object from the virtual object. host is the current host object,
	// or a new one that has nothing but its name, labels and annotations. The engine sends the
	// difference. nil means that the kind writes nothing to the host.
	Down func(s Scope, virtual V, host H) error

	// Up fills in the virtual object from the host object, mostly the status. Its result is
	// written even if that of Down cannot be, and vice versa. If the host owns the kind and there
	// is no virtual copy yet, virtual has nothing but its name and the annotation
	// [labels.HostUID]. nil means that the kind writes nothing to the virtual cluster.
	Up func(s Scope, host H, virtual V) error

	// BeforeDelete changes the virtual copy of a deleted host object before the copy is
	// deleted, and again while its finalizers keep it. Some controllers remove their finalizer
	// only after a change of the object, as for a volume that is no longer in use. nil means
	// that nothing changes.
	BeforeDelete func(s Scope, virtual V) error

	// Unselected changes the virtual copy of a host object that exists but is no longer
	// selected by the watch. It reports whether the copy must stay, because other objects need
	// it. A watch of Also must requeue the copy when that may change. It requires Owner Host and
	// no FindOriginal. nil means that such copies are deleted.
	Unselected func(s Scope, virtual V) (bool, error)

	// Refused shows in the virtual object that the host has refused its copy, with the reason.
	// The engine also records an Event. nil means that the Event is enough.
	Refused func(s Scope, virtual V, reason string)
	// RefusedResize shows in the virtual pod that the host has refused to resize its copy, with
	// the reason. Up must keep what it shows until the copy has the resize. The engine also
	// records an Event. nil means that the Event is enough.
	RefusedResize func(s Scope, virtual V, host H, reason string)

	// Narrow removes from a host copy what wanted, the state that the copy should have, does not give. It adds
	// nothing. The engine calls it when the host refuses the update to wanted, so that access that has ended
	// does not wait for the rest. It also calls it after an [translate.UnsupportedError] of Down, which then leaves
	// only what may stay in the host object. If the host refuses the narrowed copy too, the engine deletes the copy, and
	// creates it again once the host accepts it. So it is for kinds whose copies give access to something
	// and have no state. nil means that only labels and annotations are removed, for all kinds alike.
	Narrow func(host, wanted H)

	// EvictedWithCopy is true if the loss of the host copy evicts the virtual object, once Started
	// returns true. Only pods set it. Default: a lost host copy is created again.
	EvictedWithCopy bool
	// Started reports whether the virtual object has had a host copy that may have run. host
	// is the copy, or the last state of a deleted copy that this process has seen, else nil.
	// EvictedWithCopy requires it.
	Started func(s Scope, virtual V, host H) bool
	// Lost sets the final state of a virtual object that has lost its host copy, before it is
	// deleted. It must not change an object that has a final state. It requires EvictedWithCopy.
	// nil means that the kind has no final state.
	Lost func(s Scope, virtual V) error

	// LeastGrace returns the shortest grace period, in seconds, with which the engine may delete
	// a host copy. It also applies if the deletion of the virtual object was forced. It requires
	// EvictedWithCopy. nil means 0.
	LeastGrace func(host H) int64

	// Outlives is true if copies stay when their originals are deleted. The engine then never
	// deletes a copy. It is for Events, which expire by themselves. Default: false.
	Outlives bool

	// Also are watches of other types whose changes requeue objects of this kind.
	Also []Watch
}

// Watch requeues objects of a kind when an object of another type changes.
type Watch struct {
	// Side is where the other type is watched.
	Side Side
	// Object is an empty object of the other type.
	Object client.Object
	// All also watches host objects without the label of this virtual cluster, in the host
	// namespace, or on the whole host if they are cluster-scoped. It has no effect on the
	// virtual side. Default: false.
	All bool
	// StatusBlind ignores updates of the status alone, as in [Resource].
	StatusBlind bool
	// KeysOnly ignores updates after which Keys returns the same keys.
	KeysOnly bool
	// Keys returns the virtual keys to reconcile when object has changed. If it fails, it is
	// called again after a backoff, so that no event is lost.
	Keys func(s Scope, object client.Object) ([]types.NamespacedName, error)
}

// Index lets a [Resource] list cached objects with client.MatchingFields, in time
// that does not grow with the number of objects.
type Index struct {
	// Side is where the objects are.
	Side Side
	// Object is an empty object of their type.
	Object client.Object
	// Field is the name of the index. Two indexes of one type and side with the same name are
	// the same index.
	Field string
	// Values returns the values by which object is found. It must depend on object alone.
	Values func(object client.Object) []string
}
