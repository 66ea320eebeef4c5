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

// String is the word for the side in logs and messages.
func (s Side) String() string {
	if s == Host {
		return "host"
	}
	return "virtual"
}

// Scope is what the functions of a [Resource] may look at: who the virtual
// cluster is, and what the caches of both sides hold. It offers no way to write.
type Scope struct {
	// Context ends when the reconcile that asks must end.
	Context context.Context
	// Cluster is the identity of the virtual cluster on the host.
	Cluster translate.Cluster
	// Virtual and Host read from the caches of the two sides.
	Virtual, Host client.Reader
	// Now is the time at which the reconcile began.
	Now time.Time

	again *time.Duration
	say   func(reason, message string)
}

// Again asks for one more reconcile of the same object after d, for what time
// alone changes: a token that must be renewed. The shortest wish counts.
func (s Scope) Again(d time.Duration) {
	if s.again != nil && (*s.again == 0 || d < *s.again) {
		*s.again = d
	}
}

// Resource says how one kind is kept in step between the two clusters. Its
// functions only look and fill in; the [Engine] alone creates, patches, deletes,
// requeues and records events. They are level-triggered: they see both sides as
// they are now and must not remember anything.
//
// V and H are the same type for most kinds. They differ where an object of one
// kind needs one of another kind beside it, as a pod needs a Secret for its
// token.
//
// What the functions are given is theirs: they may keep parts of one object in
// the other. What they read through the [Scope] on the host must be a kind that
// the engine watches for them: their own, or one of Also. It is an error
// otherwise, so that no kind depends on host objects that it declares nowhere.
type Resource[V, H client.Object] struct {
	// Owner is the side whose copy is the truth. The engine makes, changes and
	// deletes the copy on the other side to follow it.
	Owner Side

	// Names is how an object of the virtual cluster is named on the host.
	Names translate.Scheme

	// NewVirtual and NewHost make empty objects. nil means new(V) and new(H), which
	// is right for everything but unstructured objects.
	NewVirtual func() V
	NewHost    func() H

	// Origin is the virtual key of a host object, and false for a host object
	// that is not the copy of any. nil means that the annotations say it, proven
	// as [translate.Origin] does.
	Origin func(s Scope, host H) (types.NamespacedName, bool)

	// Source is the host object that stands behind a virtual key, for kinds owned
	// by the host whose virtual object is not named after it, or is made up from
	// several: the pods that prove a pseudo node, the claim behind a volume. It
	// reads s.Host, through an index of Indexes, and is false where there is
	// none; of several it answers the same one for the same cache. The engine
	// then looks up host objects with it alone and Names is not used. nil means
	// that Names says where the host object is.
	Source func(s Scope, virtual types.NamespacedName) (H, bool, error)

	// Select narrows the watch of the host objects. nil means those that bear the
	// label [labels.Cluster] of this virtual cluster, in its host namespace.
	// Kinds whose host objects others make, such as nodes and events, set it, at
	// the widest to everything; namespaced ones are watched in the host namespace
	// all the same.
	Select apilabels.Selector

	// Trim drops from a host object what the kind never reads, before the cache
	// keeps it. The engine itself drops managedFields. Kinds that share a type of
	// host object share its cache: at most one of them sets Trim.
	Trim func(host H)

	// Indexes are what Source, Want, Down, Up and Also list objects by. The
	// engine adds them to the caches; kinds may ask for the same one.
	Indexes []Index

	// StatusBlind says that the status of the virtual object means nothing to the
	// kind: an update that changes nothing else does not requeue it. It works for
	// kinds whose API server counts generations.
	StatusBlind bool

	// Want says whether there should be a copy. The owner's object is there; the
	// other one is nil where it does not exist yet. nil means that every object
	// gets a copy. An object that is no longer wanted loses its copy.
	Want func(s Scope, virtual V, host H) (bool, error)

	// Down fills in the host copy from the virtual object. host is the copy as
	// it is now, or an empty object that bears the name, labels and annotations of its
	// identity. The engine sends the difference. nil means that nothing goes down.
	Down func(s Scope, virtual V, host H) error

	// Up fills in the virtual copy from the host object, mostly the status. It
	// runs and is written independently of Down: neither waits for the other, and
	// neither may fail because the other did. nil means that nothing goes up. Of a
	// kind that the host owns, virtual is an empty object that bears its name and
	// its labels.HostUID annotation if it does not exist yet.
	Up func(s Scope, host H, virtual V) error

	// Last fills in the virtual copy of a host object that is gone before it is
	// deleted, and again while its deletion waits for something. It is for copies
	// that a controller of the virtual cluster holds back until they say that
	// nobody uses them any more, as a volume does. nil means that there is nothing
	// to say.
	BeforeDelete func(s Scope, virtual V) error

	// Refused fills in the virtual object when the host refuses to have a copy of
	// it, for reason. The tenant is told by an Event in any case. nil means that
	// there is nothing more to say.
	Refused func(s Scope, virtual V, reason string)

	// EndsWithHost says that the virtual object ends when its host copy is
	// deleted by somebody else, once Started says that it had one. Only pods do
	// so. Otherwise a lost host copy is made again.
	EndsWithHost bool
	// Started says whether the virtual object has had a host copy, from the
	// virtual object alone. Needed with EndsWithHost.
	Started func(virtual V) bool

	// Outlives says that the copy stays when the owner's object is gone, as an
	// event does, which the API server of each side lets expire. The engine then
	// never deletes a copy.
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
	// All watches host objects that do not belong to this virtual cluster too:
	// those of the host namespace, or of the whole host if they have none. Without
	// it, just those with our label are seen. It means nothing on the virtual side.
	All bool
	// StatusBlind says that the status of the other objects means nothing, as in
	// [Resource].
	StatusBlind bool
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
