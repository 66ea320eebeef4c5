package syncer

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
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

// namespacePause is how long a copy waits for its namespace to be created or deleted.
const namespacePause = time.Second

// in returns the place with its namespace filled in.
func (p Place) in(namespace string) Place {
	if p.Namespace == "" {
		p.Namespace = namespace
	}
	return p
}

// covers reports whether a watch of the place holds an object.
func (p Place) covers(key types.NamespacedName) bool {
	return p.Namespace == key.Namespace && (p.Name == "" || p.Name == key.Name)
}

// isPart reports whether the place is less than a side.
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

// lateStore is a store that is empty until its watches exist. Admission may ask for an
// object before the kind runs. Most kinds have one watch, others one of each place.
type lateStore struct {
	watches atomic.Pointer[[]*sharedWatch]
}

// set sets the watches of the store.
func (l *lateStore) set(watches ...*sharedWatch) { l.watches.Store(&watches) }

// list returns the watches of the store.
func (l *lateStore) list() []*sharedWatch {
	if watches := l.watches.Load(); watches != nil {
		return *watches
	}
	return nil
}

// has reports whether a watch is one of the store.
func (l *lateStore) has(w *sharedWatch) bool { return slices.Contains(l.list(), w) }

// Get implements store.
func (l *lateStore) Get(key types.NamespacedName) client.Object {
	for _, w := range l.list() {
		if found := w.Get(key); found != nil {
			return found
		}
	}
	return nil
}

// List implements store.
func (l *lateStore) List() []client.Object {
	watches := l.list()
	if len(watches) == 1 {
		return watches[0].List()
	}
	var all []client.Object
	for _, w := range watches {
		all = append(all, w.List()...)
	}
	return all
}

// subscribeHost starts the watches of the kind's host objects.
func (r *runner) subscribeHost(ctx context.Context, s *subscriptions) ([]*sharedWatch, error) {
	places := r.kind.places
	if places == nil {
		places = []Place{{}}
	}
	var all []*sharedWatch
	for _, place := range places {
		if r.kind.places != nil {
			place = place.in(r.hostReader.side.namespace)
		}
		w, err := r.subscribe(ctx, s, r.hostReader, r.kind.newHost(), r.kind.sel, place,
			&handler{own: true, isHeartbeat: r.kind.isHeartbeat, keys: r.originKey})
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return all, nil
}

// getPlaced gets an object from the watches of places, of which one has to cover it.
func (r *scopeReader) getPlaced(ctx context.Context, watches []*sharedWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	for _, w := range watches {
		if !w.place.covers(key) {
			continue
		}
		err := w.readStarted(ctx, func() error { return w.cache.Get(ctx, key, object, options...) })
		if !apierrors.IsNotFound(err) {
			return err
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{Resource: fmt.Sprintf("%T", object)}, key.String())
}

// handleNoNamespace answers the create of a copy whose namespace does not exist or is
// terminating. A kind that creates namespaces creates this one, as soon as the former is gone.
// For all others the reason for the copy is gone with the namespace.
func (r *reconciler) handleNoNamespace(s Scope, name string, cause error) error {
	if !r.kind.createsNamespace {
		return nil
	}
	if apierrors.IsNotFound(cause) {
		err := r.virtual.client.Create(s.Context, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("cannot create virtual namespace %s: %w", name, err)
		}
	}
	s.RequeueAfter(namespacePause)
	return nil
}
