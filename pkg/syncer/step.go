package syncer

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// StepSide is one side of a [Step].
type StepSide struct {
	// Client answers the requests of the step, as an API server does.
	Client client.Client
	// Reader is what the kind reads, as from caches. Default: Client.
	Reader client.Reader
	// Objects returns the kind's own objects.
	Objects func() []client.Object
}

// Step runs single reconciles of a kind, without watches and queue. Tests of kinds use it to see
// what the engine does.
type Step struct {
	// Kind is the kind.
	Kind Kind
	// Cluster is the identity of the virtual cluster.
	Cluster translate.Cluster
	// Clock is the time.
	Clock clock.PassiveClock
	// Virtual and Host are the two sides.
	Virtual, Host StepSide
	// IsCopied implements [Scope.IsCopied]. Default: every copy has the current content.
	IsCopied func(virtual, host client.Object) bool
}

// Reconcile reconciles one virtual key and returns when to reconcile it again without
// an event, 0 for never. It remembers nothing between two calls.
func (s *Step) Reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	r := s.reconciler()
	return r.reconcile(ctx, key)
}

// Origin returns the virtual key of a host object. ok is false if the kind does not
// watch the host object, or if it is no copy and no original.
func (s *Step) Origin(ctx context.Context, host client.Object) (key types.NamespacedName, ok bool) {
	r := s.reconciler()
	if !r.isSelected(host) {
		return key, false
	}
	return s.Kind.origin(r.scope(ctx), host)
}

// HostKey returns the name of the host object of a virtual key.
func (s *Step) HostKey(key types.NamespacedName) types.NamespacedName {
	return s.reconciler().hostKey(key)
}

// Requeued returns the keys of the kind that a change of another object requeues.
func (s *Step) Requeued(ctx context.Context, watch Watch, object client.Object) ([]types.NamespacedName, error) {
	return watch.Keys(s.reconciler().scope(ctx), object)
}

func (s *Step) reconciler() *reconciler {
	r := newReconciler(s.Kind, s.Cluster, s.Clock, logr.Discard())
	r.events = newTenantEvents(s.Virtual.Client, scheme.Scheme, s.Clock, logr.Discard(), s.Cluster)
	r.virtual = s.Virtual.clients(nil)
	r.host = s.Host.clients(r.isSelected)
	r.isCopied = s.IsCopied
	return r
}

// clients returns the side as a reconciler sees it, without the objects that are not
// selected.
func (s *StepSide) clients(selected func(client.Object) bool) sideClients {
	c := sideClients{client: s.Client, reader: s.Reader, store: &stepStore{s.Objects, selected}}
	if c.reader == nil {
		c.reader = s.Client
	}
	return c
}

// stepStore is the store of one side.
type stepStore struct {
	objects  func() []client.Object
	selected func(client.Object) bool // nil selects all
}

func (s *stepStore) Get(key types.NamespacedName) client.Object {
	for _, object := range s.List() {
		if client.ObjectKeyFromObject(object) == key {
			return object
		}
	}
	return nil
}

func (s *stepStore) List() []client.Object {
	var all []client.Object
	for _, object := range s.objects() {
		if s.selected == nil || s.selected(object) {
			all = append(all, object)
		}
	}
	return all
}
