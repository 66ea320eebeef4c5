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
	// notePeriod is how often one and the same note is written at most.
	notePeriod = time.Minute
	// maxNotes bounds what is remembered of notes written.
	maxNotes = 4096
	// maxNoteLength is what the API server takes as the message of an event.
	maxNoteLength = 1024
)

// notes tells tenants, by Events on their objects, what the host has against a
// copy. One Event stands for all that say the same of one object.
type notes struct {
	client  client.Client
	scheme  *runtime.Scheme
	clock   clock.PassiveClock
	log     logr.Logger
	cluster hostWords

	mu   sync.Mutex
	last map[string]time.Time
}

// hostWords are names of the host that a tenant does not know.
type hostWords struct{ namespace string }

func newNotes(c client.Client, scheme *runtime.Scheme, clock clock.PassiveClock, log logr.Logger, hostNamespace string) *notes {
	return &notes{
		client: c, scheme: scheme, clock: clock, log: log,
		cluster: hostWords{hostNamespace}, last: map[string]time.Time{},
	}
}

// note is what an Event says.
type note struct{ kind, reason, message string }

// refused writes down on a virtual object that the host did not take its copy.
func (n *notes) refused(ctx context.Context, kind string, virtual client.Object, hostKey types.NamespacedName, err error) {
	message := n.cluster.inVirtual(err.Error(), client.ObjectKeyFromObject(virtual), hostKey)
	n.say(ctx, kind, virtual, note{corev1.EventTypeWarning, "HostRefused", message})
}

// say writes a note on a virtual object, unless it did so a moment ago.
func (n *notes) say(ctx context.Context, kind string, virtual client.Object, what note) {
	what.message = shortened(what.message)
	sum := sha256.Sum256([]byte(string(virtual.GetUID()) + "\x00" + what.message))
	id := hex.EncodeToString(sum[:8])
	if !n.due(id) {
		return
	}
	if err := n.write(ctx, virtual, id, what); err != nil {
		n.log.V(1).Info("Cannot record an event", "kind", kind, "object", client.ObjectKeyFromObject(virtual), "reason", err.Error())
	}
}

// due says that a note was not written for a while, and that it is now.
func (n *notes) due(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.clock.Now()
	if last, ok := n.last[id]; ok && now.Sub(last) < notePeriod {
		return false
	}
	if len(n.last) >= maxNotes {
		for old, at := range n.last {
			if now.Sub(at) >= notePeriod {
				delete(n.last, old)
			}
		}
	}
	n.last[id] = now
	return true
}

// write creates the Event with that id or counts it once more.
func (n *notes) write(ctx context.Context, virtual client.Object, id string, what note) error {
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
		Type: what.kind, Reason: what.reason, Message: what.message,
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

// inVirtual is a message of the host in words that a tenant knows: the names of
// the host copy become those of the virtual object.
func (w hostWords) inVirtual(message string, virtual, host types.NamespacedName) string {
	message = strings.ReplaceAll(message, host.String(), virtual.String())
	message = strings.ReplaceAll(message, host.Name, virtual.Name)
	// The name of the host namespace may be any word. It is taken for a name only
	// between quotes.
	return shortened(strings.ReplaceAll(message, strconv.Quote(w.namespace), strconv.Quote(virtual.Namespace)))
}

// shortened is as much of a message as an Event takes.
func shortened(message string) string {
	if len(message) > maxNoteLength {
		return message[:maxNoteLength-3] + "..."
	}
	return message
}
