package consistency

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// watchSeconds is how long a watch lasts before its client resumes it on any replica.
const watchSeconds = 3

// Watches is a workload of clients that watch a [Set] as an informer does. A watch that ends is
// resumed from the last version, on another replica. If that version is gone, they list again.
type Watches struct {
	options Options
	name    string

	mu      sync.Mutex
	clients []*watcher
	faults  []error
}

// watcher is what one client has seen.
type watcher struct {
	version         uint64          // of the last event or list, 0 before the first list
	seen            map[string]bool // names of elements
	events, resumed int
	relisted        int
}

// NewWatches returns clients of the set with that name.
func NewWatches(name string, o Options) *Watches {
	w := &Watches{options: o.withDefaults(), name: name}
	for range w.options.Clients {
		w.clients = append(w.clients, &watcher{seen: map[string]bool{}})
	}
	return w
}

// Run watches until ctx ends.
func (w *Watches) Run(ctx context.Context) {
	w.options.run(ctx, func(_ context.Context, client int, _ *rand.Rand) {
		// A watch without an answer is resumed.
		_ = w.step(ctx, w.clients[client])
	})
}

// Finish watches until each client has seen everything that the set has.
func (w *Watches) Finish(ctx context.Context) error {
	for _, client := range w.clients {
		var newest uint64
		err := w.options.retry(ctx, func(ctx context.Context, api kubernetes.Interface) error {
			answer, err := api.CoreV1().ConfigMaps(w.options.Namespace).List(ctx, w.selected())
			for i := range answer.Items {
				newest = max(newest, versionOf(&answer.Items[i]))
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("cannot list what is watched: %w", err)
		}
		for client.version < newest {
			if err := w.step(ctx, client); ctx.Err() != nil {
				return fmt.Errorf("a watch is at version %d, want %d: %w", client.version, newest, err)
			}
		}
	}
	return nil
}

// selected returns the options of lists and watches.
func (w *Watches) selected() metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: setLabel + "=" + w.name}
}

// step lists or watches once.
func (w *Watches) step(ctx context.Context, client *watcher) error {
	api := w.options.Pick()
	if api == nil {
		return errNoReplica
	}
	if client.version == 0 {
		return request(ctx, func() kubernetes.Interface { return api }, w.options.Timeout, func(ctx context.Context, api kubernetes.Interface) error {
			return w.list(ctx, api, client)
		})
	}
	ctx, cancel := context.WithTimeout(ctx, w.options.Timeout+watchSeconds*time.Second)
	defer cancel()
	options, seconds := w.selected(), int64(watchSeconds)
	options.ResourceVersion, options.TimeoutSeconds = fmt.Sprint(client.version), &seconds
	changes, err := api.CoreV1().ConfigMaps(w.options.Namespace).Watch(ctx, options)
	if err != nil {
		w.relistIfGone(client, err)
		return err
	}
	defer changes.Stop()
	client.resumed++
	for event := range changes.ResultChan() {
		if event.Type == watch.Error {
			err := apierrors.FromObject(event.Object)
			w.relistIfGone(client, err)
			return err
		}
		w.record(client, event)
	}
	return nil
}

// relistIfGone makes the client list again if the version of its watch is gone.
func (w *Watches) relistIfGone(client *watcher, err error) {
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		client.version = 0
		client.relisted++
	}
}

// list reads everything with the guarantees of a read from the store.
func (w *Watches) list(ctx context.Context, api kubernetes.Interface, client *watcher) error {
	answer, err := api.CoreV1().ConfigMaps(w.options.Namespace).List(ctx, w.selected())
	if err != nil {
		return err
	}
	listed := map[string]bool{}
	for i := range answer.Items {
		listed[answer.Items[i].Name] = true
	}
	for name := range client.seen {
		if !listed[name] {
			w.failf("a watch has sent element %s, which a later list lacks", name)
		}
	}
	client.seen, client.version = listed, versionOf(answer)
	return nil
}

// record checks one event. Elements are only ever created.
func (w *Watches) record(client *watcher, event watch.Event) {
	object, ok := event.Object.(*corev1.ConfigMap)
	if !ok || event.Type != watch.Added {
		w.failf("a watch has sent %s of a %T, want only new elements", event.Type, event.Object)
		return
	}
	version := versionOf(object)
	if version <= client.version {
		w.failf("a watch has sent element %s of version %d after version %d", object.Name, version, client.version)
	}
	if client.seen[object.Name] {
		w.failf("a watch has sent element %s twice", object.Name)
	}
	client.seen[object.Name], client.version = true, version
	client.events++
}

// failf records a fault of the watches.
func (w *Watches) failf(format string, arguments ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Errorf(format, arguments...))
}

// Check returns an error if a client has missed an acknowledged element of the set, or has seen
// an event twice or out of order. It may be called after Finish.
func (w *Watches) Check(s *Set) error {
	w.mu.Lock()
	faults := w.faults
	w.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for number, client := range w.clients {
		missed, example := 0, ""
		for _, e := range s.elements {
			if e.outcome == acknowledged && !client.seen[e.name] {
				missed, example = missed+1, e.name
			}
		}
		if missed > 0 {
			faults = append(faults, fmt.Errorf("watch %d has missed %d acknowledged elements, as %s", number, missed, example))
		}
	}
	if len(faults) > 5 {
		faults = append(faults[:5:5], fmt.Errorf("and %d more", len(faults)-5))
	}
	return errors.Join(faults...)
}

// String returns how many events, resumed watches and new lists there were.
func (w *Watches) String() string {
	var events, resumed, relisted int
	for _, client := range w.clients {
		events, resumed, relisted = events+client.events, resumed+client.resumed, relisted+client.relisted
	}
	return fmt.Sprintf("%d events, %d watches, %d lists after a version was gone", events, resumed, relisted)
}
