package kinds

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Events copies the host's Events about host copies to their virtual objects, for example that an
// image cannot be pulled. Events expire on each API server, so the copies are never deleted.
func Events(o Options) syncer.Resource[*corev1.Event, *corev1.Event] {
	return eventsAbout(o, involvedKinds(o.Sync))
}

// eventsAbout returns the resource of the Events about host copies of some kinds.
func eventsAbout(o Options, involved map[string]func() client.Object) syncer.Resource[*corev1.Event, *corev1.Event] {
	e := events{involved: involved, usesVirtualScheduler: o.usesVirtualScheduler}
	r := syncer.Resource[*corev1.Event, *corev1.Event]{
		Owner:        syncer.Host,
		Names:        nameHostEvent,
		Origin:       e.origin,
		FindOriginal: e.original,
		Select:       apilabels.Everything(),
		Want:         e.shouldShow,
		Up:           e.fillVirtualEvent,
		Outlives:     true,
		Indexes:      []syncer.Index{eventsByInvolved()},
	}
	for kind, empty := range e.involved {
		r.Also = append(r.Also, syncer.Watch{Side: syncer.Host, Object: empty(), StatusBlind: true, Keys: e.eventsToRequeue(kind)})
		switch usersOf(kind) {
		case byVolumeClaim:
			r.Indexes = append(r.Indexes, podsByVolumeClaim())
		case byResourceClaim:
			r.Indexes = append(r.Indexes, podsByResourceClaim())
		}
	}
	return r
}

// events is the kind with its settings.
type events struct {
	involved map[string]func() client.Object
	// usesVirtualScheduler reports whether a scheduler of the virtual cluster picks
	// the node of a pod.
	usesVirtualScheduler func(virtual *corev1.Pod) bool
}

// involvedKinds returns the kinds of host objects whose Events are copied, which are those that are
// synced.
func involvedKinds(sync v1alpha1.Sync) map[string]func() client.Object {
	kinds := map[string]func() client.Object{"Pod": func() client.Object { return &corev1.Pod{} }}
	if sync.IsEnabled("sync.toHost.services") {
		kinds["Service"] = func() client.Object { return &corev1.Service{} }
	}
	if sync.IsEnabled("sync.toHost.persistentVolumeClaims") {
		kinds["PersistentVolumeClaim"] = func() client.Object { return &corev1.PersistentVolumeClaim{} }
	}
	if sync.IsEnabled(policy.ResourceClaimsSetting) {
		kinds["ResourceClaim"] = func() client.Object { return &resourcev1.ResourceClaim{} }
	}
	if sync.IsEnabled("sync.toHost.ingresses") {
		kinds["Ingress"] = func() client.Object { return &networkingv1.Ingress{} }
	}
	return kinds
}

// eventsToRequeue returns the Events about a host object that are not copied yet. Their reconciles may
// have come before the object was in the cache.
func (e events) eventsToRequeue(kind string) func(syncer.Scope, client.Object) ([]types.NamespacedName, error) {
	return func(s syncer.Scope, object client.Object) ([]types.NamespacedName, error) {
		var found corev1.EventList
		err := s.Host.List(s.Context, &found, client.InNamespace(s.Cluster.Namespace),
			client.MatchingFields{byInvolved: kind + "/" + object.GetName()}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, err
		}
		var keys []types.NamespacedName
		for i := range found.Items {
			key, ours := e.origin(s, &found.Items[i])
			if !ours {
				continue
			}
			if shown, err := lookUp(s, syncer.Virtual, key, &corev1.Event{}); err == nil && !shown {
				keys = append(keys, key)
			}
		}
		return keys, nil
	}
}

// nameHostEvent returns the name of a host Event: the host name of its object, with the suffix of the
// virtual Event.
func nameHostEvent(c translate.Cluster, virtual types.NamespacedName) types.NamespacedName {
	object, suffix := virtual.Name, ""
	if dot := strings.LastIndexByte(virtual.Name, '.'); dot >= 0 {
		object, suffix = virtual.Name[:dot], virtual.Name[dot:]
	}
	host := translate.Hashed(c, types.NamespacedName{Namespace: virtual.Namespace, Name: object})
	host.Name += suffix
	return host
}

// involvedVirtualObject returns the virtual object that a host event refers to. ok is false
// unless the involved host object is our copy.
func (e events) involvedVirtualObject(s syncer.Scope, ref *corev1.ObjectReference) (types.NamespacedName, types.UID, bool) {
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

// origin returns the key of the virtual event of a host event. It has the name of the host
// event, with the virtual object's name in the place of the host object's.
func (e events) origin(s syncer.Scope, host *corev1.Event) (types.NamespacedName, bool) {
	object, _, ok := e.involvedVirtualObject(s, &host.InvolvedObject)
	suffix, named := strings.CutPrefix(host.Name, host.InvolvedObject.Name)
	if !ok || !named || strings.LastIndexByte(suffix, '.') != 0 {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: object.Namespace, Name: virtualEventName(object.Name, suffix)}, true
}

// virtualEventName returns the name of a virtual Event, truncated to the maximum length of a name.
func virtualEventName(object, suffix string) string {
	if room := validation.DNS1123SubdomainMaxLength - len(suffix); len(object) > room {
		object = object[:room-1] + "x" // It must not end with a dash or a dot.
	}
	return object + suffix
}

// original returns the host Event of a virtual one. For a truncated name, it searches all Events.
func (e events) original(s syncer.Scope, virtual types.NamespacedName) (*corev1.Event, bool, error) {
	host := &corev1.Event{}
	_, err := lookUp(s, syncer.Host, nameHostEvent(s.Cluster, virtual), host)
	found := e.isOriginal(s, virtual, host)
	if found || err != nil || len(virtual.Name) < validation.DNS1123SubdomainMaxLength {
		return host, found, err
	}
	var all corev1.EventList
	if err := s.Host.List(s.Context, &all, client.InNamespace(s.Cluster.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, false, fmt.Errorf("cannot list events of the host: %w", err)
	}
	i := slices.IndexFunc(all.Items, func(host corev1.Event) bool { return e.isOriginal(s, virtual, &host) })
	if i < 0 {
		return nil, false, nil
	}
	return &all.Items[i], true, nil
}

// isOriginal reports whether a virtual event is the copy of a host event.
func (e events) isOriginal(s syncer.Scope, virtual types.NamespacedName, host *corev1.Event) bool {
	key, ok := e.origin(s, host)
	return ok && key == virtual
}

// shouldShow reports whether the virtual object of an Event exists and the Event is not hidden. An Event
// about a deleted object could not be created if its namespace is terminating.
func (e events) shouldShow(s syncer.Scope, _, host *corev1.Event) (bool, error) {
	object, uid, ok := e.involvedVirtualObject(s, &host.InvolvedObject)
	if !ok {
		return false, nil
	}
	virtual := e.involved[host.InvolvedObject.Kind]()
	found, err := lookUp(s, syncer.Virtual, object, virtual)
	if err != nil || !found {
		return false, err
	}
	pod, isPod := virtual.(*corev1.Pod)
	if !isPod || virtual.GetUID() != uid {
		return virtual.GetUID() == uid, nil
	}
	hidden, err := e.isHidden(s, host, pod)
	return !hidden, err
}

// isHidden reports whether an Event of a pod is hidden from the tenant. It hides the host's Event that
// the pod is scheduled if the virtual scheduler has recorded one. It hides normal Events of
// containers that only the host pod has, but not warnings: the pod may wait for such a container.
// It hides all Events of ephemeral containers that an operator has added, also under a name that the tenant uses
// later.
func (e events) isHidden(s syncer.Scope, host *corev1.Event, pod *corev1.Pod) (bool, error) {
	if host.Reason == scheduled && e.usesVirtualScheduler(pod) {
		return true, nil
	}
	list, name, _ := strings.Cut(strings.TrimSuffix(host.InvolvedObject.FieldPath, "}"), "{")
	containers := map[string][]corev1.Container{"spec.initContainers": pod.Spec.InitContainers, "spec.containers": pod.Spec.Containers}
	known, isList := containers[list]
	if list == "spec.ephemeralContainers" {
		copied := &corev1.Pod{}
		key := types.NamespacedName{Namespace: s.Cluster.Namespace, Name: host.InvolvedObject.Name}
		found, err := lookUp(s, syncer.Host, key, copied)
		return !found || !translate.IsTenantsDebugContainer(copied, name), err
	}
	return host.Type == corev1.EventTypeNormal && isList &&
		!slices.ContainsFunc(known, func(c corev1.Container) bool { return c.Name == name }), nil
}

// fillVirtualEvent fills in the virtual event.
func (e events) fillVirtualEvent(s syncer.Scope, host, virtual *corev1.Event) error {
	object, uid, _ := e.involvedVirtualObject(s, &host.InvolvedObject)
	kept := virtual.ObjectMeta
	*virtual = *host
	virtual.ObjectMeta = kept
	virtual.InvolvedObject = virtualReference(&host.InvolvedObject, object, uid)
	virtual.Related = nil
	if host.Related != nil {
		if related, relatedUID, ok := e.involvedVirtualObject(s, host.Related); ok {
			reference := virtualReference(host.Related, related, relatedUID)
			virtual.Related = &reference
		}
	}
	virtual.Message = e.translateMessage(s, host, object)
	virtual.Source.Component = bareComponent(host.Source.Component)
	virtual.ReportingController = bareComponent(host.ReportingController)
	if host.ReportingInstance != host.Source.Host {
		// It has the name of a host pod or machine. The API requires a value in newer Events.
		virtual.ReportingInstance = virtual.ReportingController
	}
	return nil
}

// bareComponent returns the name of a component without its instance. Provisioners append the
// name of their host pod, as in csi.example.com_csi-controller-0_4f6b.
func bareComponent(component string) string {
	name, _, _ := strings.Cut(component, "_")
	return name
}

// virtualReference returns a reference to the virtual object of a host object.
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
