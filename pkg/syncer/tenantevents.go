package syncer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/sublet-dev/sublet/pkg/translate"
)

const (
	// eventPeriod is how long a repeat of the same Event is suppressed.
	eventPeriod = time.Minute
	// maxRecorded is the maximum number of different Events in an eventPeriod.
	maxRecorded = 4096
	// maxMessageLength is the maximum length in bytes that API servers accept for the message
	// of an Event.
	maxMessageLength = 1024
	// ellipsis ends a message that was cut.
	ellipsis = "..."
	// maxEventNameLength leaves room for the suffix in the name of an Event.
	maxEventNameLength = 200
)

// tenantEvents records Events on virtual objects, mostly about host copies that the host
// refuses. The name of an Event is derived from the object and the message. So a repeated
// message increments the count of one Event, also after a restart. client-go's recorders
// aggregate by reason or name Events by time, and so lose the message or the count.
type tenantEvents struct {
	client  client.Client
	scheme  *runtime.Scheme
	clock   clock.PassiveClock
	log     logr.Logger
	cluster translate.Cluster

	mu       sync.Mutex
	recorded *recent[string, struct{}] // names of Events
}

func newTenantEvents(c client.Client, scheme *runtime.Scheme, clock clock.PassiveClock, log logr.Logger, cluster translate.Cluster) *tenantEvents {
	return &tenantEvents{
		client: c, scheme: scheme, clock: clock, log: log,
		cluster: cluster, recorded: newRecent[string, struct{}](clock, eventPeriod),
	}
}

// tenantEvent is the content of an Event.
type tenantEvent struct{ eventType, reason, message string }

// recordHostRefusal records on a virtual object that the host refused its copy.
func (t *tenantEvents) recordHostRefusal(ctx context.Context, kind string, virtual client.Object, hostKey types.NamespacedName, err error) {
	message := t.toVirtualNames(err.Error(), client.ObjectKeyFromObject(virtual), hostKey)
	t.record(ctx, kind, virtual, tenantEvent{corev1.EventTypeWarning, "HostRefused", message})
}

// record records an Event on a virtual object, unless it did so in the last
// eventPeriod.
func (t *tenantEvents) record(ctx context.Context, kind string, virtual client.Object, what tenantEvent) {
	what.message = truncate(what.message)
	sum := sha256.Sum256([]byte(string(virtual.GetUID()) + "\x00" + what.message))
	id := hex.EncodeToString(sum[:8])
	if !t.shouldRecord(id) {
		return
	}
	if err := t.createOrCount(ctx, virtual, id, what); err != nil {
		t.log.V(2).Info("Cannot record an Event", "kind", kind, "object", client.ObjectKeyFromObject(virtual).String(), "err", err.Error())
	}
}

// shouldRecord reports whether the Event may be recorded, and marks it as recorded.
// Repeats within eventPeriod are suppressed, as is a flood of different ones.
func (t *tenantEvents) shouldRecord(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.recorded.get(id); ok || t.recorded.count() >= maxRecorded {
		return false
	}
	t.recorded.set(id, struct{}{})
	return true
}

// createOrCount creates the Event with that id, or counts it if it exists.
func (t *tenantEvents) createOrCount(ctx context.Context, virtual client.Object, id string, what tenantEvent) error {
	event, err := t.newEvent(virtual, id, what)
	if err != nil {
		return err
	}
	err = t.client.Create(ctx, event)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	now := event.LastTimestamp
	if err := t.client.Get(ctx, client.ObjectKeyFromObject(event), event); err != nil {
		return err
	}
	event.Count++
	event.LastTimestamp = now
	return t.client.Update(ctx, event)
}

// newEvent returns the Event with that id.
func (t *tenantEvents) newEvent(virtual client.Object, id string, what tenantEvent) (*corev1.Event, error) {
	gvk, err := apiutil.GVKForObject(virtual, t.scheme)
	if err != nil {
		return nil, err
	}
	now := metav1.NewTime(t.clock.Now())
	name := virtual.GetName()[:min(len(virtual.GetName()), maxEventNameLength)]
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cmp.Or(virtual.GetNamespace(), metav1.NamespaceDefault),
			Name:      strings.TrimRight(name, "-.") + "." + id,
		},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind,
			Namespace: virtual.GetNamespace(), Name: virtual.GetName(), UID: virtual.GetUID(),
		},
		Type: what.eventType, Reason: what.reason, Message: what.message,
		Source: corev1.EventSource{Component: "sublet-syncer"}, ReportingController: "sublet.dev/syncer",
		Count: 1, FirstTimestamp: now, LastTimestamp: now,
	}, nil
}

// toVirtualNames returns an error message of the host with the virtual names instead of the
// host's, truncated to the length of an Event's message.
func (t *tenantEvents) toVirtualNames(message string, virtual, host types.NamespacedName) string {
	names := translate.Rewriter{Cluster: t.cluster}
	names.AddObject(host, virtual)
	return truncate(names.RewriteError(message))
}

// truncate shortens a message to the maximum length of an Event's message, between runes.
func truncate(message string) string {
	if len(message) <= maxMessageLength {
		return message
	}
	end := maxMessageLength - len(ellipsis)
	for end > 0 && !utf8.RuneStart(message[end]) {
		end--
	}
	return message[:end] + ellipsis
}
