package syncer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

const (
	// eventPeriod is how often one and the same note is written at most.
	eventPeriod = time.Minute
	// maxRecorded bounds what is remembered of notes written.
	maxRecorded = 4096
	// maxMessageLength is what the API server takes as the message of an event.
	maxMessageLength = 1024
)

// tenantEvents tells tenants, by Events on their objects, what the host has against a
// copy. One Event stands for all that say the same of one object.
type tenantEvents struct {
	client client.Client
	scheme *runtime.Scheme
	clock  clock.PassiveClock
	log    logr.Logger
	names  hostNames

	mu   sync.Mutex
	last map[string]time.Time
}

// hostNames are names of the host that a tenant does not know.
type hostNames struct{ namespace string }

func newTenantEvents(c client.Client, scheme *runtime.Scheme, clock clock.PassiveClock, log logr.Logger, hostNamespace string) *tenantEvents {
	return &tenantEvents{
		client: c, scheme: scheme, clock: clock, log: log,
		names: hostNames{hostNamespace}, last: map[string]time.Time{},
	}
}

// tenantEvent is what an Event says.
type tenantEvent struct{ eventType, reason, message string }

// recordHostRefusal writes down on a virtual object that the host did not take its copy.
func (n *tenantEvents) recordHostRefusal(ctx context.Context, kind string, virtual client.Object, hostKey types.NamespacedName, err error) {
	message := n.names.toVirtualNames(err.Error(), client.ObjectKeyFromObject(virtual), hostKey)
	n.record(ctx, kind, virtual, tenantEvent{corev1.EventTypeWarning, "HostRefused", message})
}

// record writes a note on a virtual object, unless it did so a moment ago.
func (n *tenantEvents) record(ctx context.Context, kind string, virtual client.Object, what tenantEvent) {
	what.message = truncate(what.message)
	sum := sha256.Sum256([]byte(string(virtual.GetUID()) + "\x00" + what.message))
	id := hex.EncodeToString(sum[:8])
	if !n.shouldRecord(id) {
		return
	}
	if err := n.createOrCount(ctx, virtual, id, what); err != nil {
		n.log.V(1).Info("Cannot record an event", "kind", kind, "object", client.ObjectKeyFromObject(virtual), "reason", err.Error())
	}
}

// shouldRecord says that a note was not written for a while, and that it is now.
func (n *tenantEvents) shouldRecord(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.clock.Now()
	if last, ok := n.last[id]; ok && now.Sub(last) < eventPeriod {
		return false
	}
	if len(n.last) >= maxRecorded {
		for old, at := range n.last {
			if now.Sub(at) >= eventPeriod {
				delete(n.last, old)
			}
		}
	}
	n.last[id] = now
	return true
}

// createOrCount creates the Event with that id or counts it once more.
func (n *tenantEvents) createOrCount(ctx context.Context, virtual client.Object, id string, what tenantEvent) error {
	gvk, err := apiutil.GVKForObject(virtual, n.scheme)
	if err != nil {
		return err
	}
	namespace := virtual.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	now := metav1.NewTime(n.clock.Now())
	name := virtual.GetName()
	if len(name) > 200 {
		name = name[:200]
	}
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: strings.TrimRight(name, "-.") + "." + id},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind,
			Namespace: virtual.GetNamespace(), Name: virtual.GetName(), UID: virtual.GetUID(),
		},
		Type: what.eventType, Reason: what.reason, Message: what.message,
		Source: corev1.EventSource{Component: "sublet-syncer"}, ReportingController: "sublet.dev/syncer",
		Count: 1, FirstTimestamp: now, LastTimestamp: now,
	}
	err = n.client.Create(ctx, event)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	if err := n.client.Get(ctx, client.ObjectKeyFromObject(event), event); err != nil {
		return err
	}
	event.Count++
	event.LastTimestamp = now
	return n.client.Update(ctx, event)
}

// toVirtualNames is a message of the host in words that a tenant knows: the names of
// the host copy become those of the virtual object.
func (w hostNames) toVirtualNames(message string, virtual, host types.NamespacedName) string {
	message = strings.ReplaceAll(message, host.String(), virtual.String())
	message = strings.ReplaceAll(message, host.Name, virtual.Name)
	// The name of the host namespace may be any word. It is taken for a name only
	// between quotes.
	return truncate(strings.ReplaceAll(message, strconv.Quote(w.namespace), strconv.Quote(virtual.Namespace)))
}

// truncate is as much of a message as an Event takes.
func truncate(message string) string {
	if len(message) > maxMessageLength {
		return message[:maxMessageLength-3] + "..."
	}
	return message
}
