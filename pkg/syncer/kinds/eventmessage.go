package kinds

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
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

// addReferences adds the names of what the object of an event refers to.
func (e events) addReferences(s syncer.Scope, names *translate.Rewriter, ref *corev1.ObjectReference, message string, key types.NamespacedName) {
	if ref.Kind == "Pod" && !mayNameReferences(message) {
		return
	}
	object := e.involved[ref.Kind]()
	if s.Virtual.Get(s.Context, key, object, client.UnsafeDisableDeepCopy) != nil {
		return
	}
	switch object := object.(type) {
	case *corev1.Pod:
		names.AddPod(object, ref.UID)
	case *networkingv1.Ingress:
		for _, name := range translate.IngressReferences(object) {
			referred := types.NamespacedName{Namespace: key.Namespace, Name: name}
			names.AddObject(translate.Hashed(s.Cluster, referred), referred)
		}
	}
}

// mayNameReferences reports whether a message may name an object that a pod refers to.
func mayNameReferences(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "configmap") || strings.Contains(text, "secret") ||
		strings.Contains(text, "claim") || strings.Contains(text, "volume")
}
