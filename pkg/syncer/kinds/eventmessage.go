package kinds

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// translateMessage returns the host's message with virtual names: that of the object and
// those of everything that a pod refers to.
func (e events) translateMessage(s syncer.Scope, host *corev1.Event, object types.NamespacedName) string {
	names := translate.Rewriter{Cluster: s.Cluster}
	names.AddObject(types.NamespacedName{Namespace: s.Cluster.Namespace, Name: host.InvolvedObject.Name}, object)
	var pod corev1.Pod
	if host.InvolvedObject.Kind == "Pod" && mayNameReferences(host.Message) &&
		s.Virtual.Get(s.Context, object, &pod, client.UnsafeDisableDeepCopy) == nil {
		names.AddPod(&pod, host.InvolvedObject.UID)
	}
	return names.Rewrite(host.Message)
}

// mayNameReferences reports whether a message may name an object that a pod refers to.
func mayNameReferences(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "configmap") || strings.Contains(text, "secret") ||
		strings.Contains(text, "claim") || strings.Contains(text, "volume")
}
