package kinds

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// translateMessage returns the host's message with the virtual names of the object, and of the objects
// that it refers to.
func (e events) translateMessage(s syncer.Scope, host *corev1.Event, object types.NamespacedName) string {
	names := translate.Rewriter{Cluster: s.Cluster}
	names.AddObject(types.NamespacedName{Namespace: s.Cluster.Namespace, Name: host.InvolvedObject.Name}, object)
	e.addReferences(s, &names, &host.InvolvedObject, host.Message, object)
	return names.Rewrite(host.Message)
}

// addReferences adds the names of what the object of an event refers to, and of the pods that use it.
func (e events) addReferences(s syncer.Scope, names *translate.Rewriter, ref *corev1.ObjectReference, message string, key types.NamespacedName) {
	if ref.Kind == "Pod" && !mayNameReferences(message) {
		return
	}
	object := e.involved[ref.Kind]()
	if s.Virtual.Get(s.Context, key, object, client.UnsafeDisableDeepCopy) != nil {
		return
	}
	if pod, ok := object.(*corev1.Pod); ok {
		names.AddPod(pod, ref.UID)
		return
	}
	addNames(names, key.Namespace, referredNames(object)...)
	if field := usersOf(ref.Kind); field != "" && strings.Contains(message, "pod") {
		var users corev1.PodList
		// If that fails, the message only has host names of pods.
		if s.Virtual.List(s.Context, &users, client.InNamespace(key.Namespace), client.MatchingFields{field: key.Name}, client.UnsafeDisableDeepCopy) == nil {
			for i := range users.Items {
				addNames(names, key.Namespace, users.Items[i].Name)
			}
		}
	}
}

// usersOf returns the index of virtual pods by objects of a kind, empty if there is none.
func usersOf(kind string) string {
	switch kind {
	case "PersistentVolumeClaim":
		return byVolumeClaim
	case "ResourceClaim":
		return byResourceClaim
	}
	return ""
}

// mayNameReferences reports whether a message may name an object that a pod refers to.
func mayNameReferences(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "configmap") || strings.Contains(text, "secret") ||
		strings.Contains(text, "claim") || strings.Contains(text, "volume")
}
