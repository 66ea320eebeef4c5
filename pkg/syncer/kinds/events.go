package kinds

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Events brings what the host reports about host objects of ours to the virtual
// objects that they are copies of: why an image cannot be pulled, why a volume
// does not come. Each API server lets its events expire by itself, so a virtual
// event is never deleted.
func Events(o Options) syncer.Resource[*corev1.Event, *corev1.Event] {
	e := events{involved: involvedKinds(o.Sync), usesVirtualScheduler: o.usesVirtualScheduler}
	r := syncer.Resource[*corev1.Event, *corev1.Event]{
		Owner:    syncer.Host,
		Names:    hostEvent,
		Origin:   e.origin,
		Select:   apilabels.Everything(),
		Want:     e.want,
		Up:       e.up,
		Outlives: true,
		Indexes:  []syncer.Index{{Side: syncer.Host, Object: &corev1.Event{}, Field: byInvolved, Values: involvedIn}},
	}
	for kind, empty := range e.involved {
		r.Also = append(r.Also, syncer.Watch{Side: syncer.Host, Object: empty(), Keys: e.missing(kind)})
	}
	return r
}

// events are the events about objects of the involved kinds.
type events struct {
	involved map[string]func() client.Object
	// usesVirtualScheduler reports whether a scheduler of the virtual cluster picks
	// the node of a pod.
	usesVirtualScheduler func(virtual *corev1.Pod) bool
}

// scheduled is the reason of the event that a scheduler records when it has bound
// a pod.
const scheduled = "Scheduled"

// involvedKinds are the kinds of host objects of which events are shown: those
// that are synced under these settings.
func involvedKinds(sync v1alpha1.Sync) map[string]func() client.Object {
	kinds := map[string]func() client.Object{"Pod": func() client.Object { return &corev1.Pod{} }}
	if sync.IsEnabled("sync.toHost.services") {
		kinds["Service"] = func() client.Object { return &corev1.Service{} }
	}
	if sync.IsEnabled("sync.toHost.persistentVolumeClaims") {
		kinds["PersistentVolumeClaim"] = func() client.Object { return &corev1.PersistentVolumeClaim{} }
	}
	return kinds
}

// byInvolved is the index of host events by the kind and the name of the object
// that they are about.
const byInvolved = "involvedObject"

func involvedIn(o client.Object) []string {
	if event, ok := o.(*corev1.Event); ok {
		return []string{event.InvolvedObject.Kind + "/" + event.InvolvedObject.Name}
	}
	return nil
}

// missing is the events about a host object that are not shown yet: the watch of
// events may be ahead of that of the object, without which nothing is proven.
func (e events) missing(kind string) func(syncer.Scope, client.Object) ([]types.NamespacedName, error) {
	return func(s syncer.Scope, object client.Object) ([]types.NamespacedName, error) {
		var about corev1.EventList
		err := s.Host.List(s.Context, &about, client.InNamespace(s.Cluster.Namespace),
			client.MatchingFields{byInvolved: kind + "/" + object.GetName()}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, err
		}
		var keys []types.NamespacedName
		for i := range about.Items {
			key, ours := e.origin(s, &about.Items[i])
			if !ours {
				continue
			}
			err := s.Virtual.Get(s.Context, key, &corev1.Event{}, client.UnsafeDisableDeepCopy)
			if apierrors.IsNotFound(err) {
				keys = append(keys, key)
			}
		}
		return keys, nil
	}
}

// hostEvent is the scheme of events: the name of the object that the event is
// about and a suffix of its own, which stays as it is.
func hostEvent(c translate.Cluster, virtual types.NamespacedName) types.NamespacedName {
	object, suffix := virtual.Name, ""
	if dot := strings.LastIndexByte(virtual.Name, '.'); dot >= 0 {
		object, suffix = virtual.Name[:dot], virtual.Name[dot:]
	}
	host := translate.Hashed(c, types.NamespacedName{Namespace: virtual.Namespace, Name: object})
	host.Name += suffix
	return host
}

// about is the virtual object that a host event is about, false for an event of
// which no host object of ours proves that it is about it.
func (e events) about(s syncer.Scope, ref *corev1.ObjectReference) (types.NamespacedName, types.UID, bool) {
	empty, ok := e.involved[ref.Kind]
	if !ok || ref.Namespace != s.Cluster.Namespace {
		return types.NamespacedName{}, "", false
	}
	object := empty()
	key := types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}
	if err := s.Host.Get(s.Context, key, object, client.UnsafeDisableDeepCopy); err != nil {
		return types.NamespacedName{}, "", false
	}
	virtual, uid, ours := translate.Origin(s.Cluster, translate.Hashed, object)
	return virtual, uid, ours && (ref.UID == "" || ref.UID == object.GetUID())
}

// origin is the virtual event of a host event: named as the host's, with the
// virtual object's name in the place of the host object's.
func (e events) origin(s syncer.Scope, host *corev1.Event) (types.NamespacedName, bool) {
	object, _, ok := e.about(s, &host.InvolvedObject)
	suffix, named := strings.CutPrefix(host.Name, host.InvolvedObject.Name)
	if !ok || !named || strings.LastIndexByte(suffix, '.') != 0 {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: object.Namespace, Name: object.Name + suffix}, true
}

// want is false once the virtual object is gone: its namespace may be going too,
// and take no new events. That a pod was scheduled is said once, by the scheduler of
// the virtual cluster if that has picked the node.
func (e events) want(s syncer.Scope, _, host *corev1.Event) (bool, error) {
	object, uid, ok := e.about(s, &host.InvolvedObject)
	if !ok {
		return false, nil
	}
	virtual := e.involved[host.InvolvedObject.Kind]()
	err := s.Virtual.Get(s.Context, object, virtual, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if pod, is := virtual.(*corev1.Pod); is && host.Reason == scheduled && e.usesVirtualScheduler(pod) {
		return false, nil
	}
	return err == nil && virtual.GetUID() == uid, err
}

// up fills in the virtual event.
func (e events) up(s syncer.Scope, host, virtual *corev1.Event) error {
	object, uid, _ := e.about(s, &host.InvolvedObject)
	kept := virtual.ObjectMeta
	*virtual = *host
	virtual.ObjectMeta = kept
	virtual.InvolvedObject = virtualReference(&host.InvolvedObject, object, uid)
	virtual.Related = nil
	if host.Related != nil {
		if related, relatedUID, ok := e.about(s, host.Related); ok {
			reference := virtualReference(host.Related, related, relatedUID)
			virtual.Related = &reference
		}
	}
	virtual.Message = e.message(s, host, object)
	return nil
}

// virtualReference is a reference to a host object as one to its virtual object.
func virtualReference(host *corev1.ObjectReference, virtual types.NamespacedName, uid types.UID) corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion: host.APIVersion,
		Kind:       host.Kind,
		Namespace:  virtual.Namespace,
		Name:       virtual.Name,
		UID:        uid,
		FieldPath:  host.FieldPath,
	}
}
