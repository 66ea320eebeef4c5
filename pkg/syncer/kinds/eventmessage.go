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
	text := toVirtualName(s, host.Message, object.Namespace, object.Name)
	if host.InvolvedObject.Kind != "Pod" || !strings.Contains(text, s.Cluster.Namespace) && !mayNameReferences(text) {
		return text
	}
	var pod corev1.Pod
	if err := s.Virtual.Get(s.Context, object, &pod, client.UnsafeDisableDeepCopy); err != nil {
		return text
	}
	configMaps, secrets, claims := translate.References(&pod)
	for _, names := range [][]string{configMaps, secrets, claims} {
		for _, name := range names {
			text = toVirtualName(s, text, object.Namespace, name)
		}
	}
	return text
}

// mayNameReferences reports whether a message may name an object that a pod refers to.
func mayNameReferences(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "configmap") || strings.Contains(text, "secret") ||
		strings.Contains(text, "claim") || strings.Contains(text, "volume")
}

// toVirtualName replaces the name of a host copy in text by that of the virtual object.
func toVirtualName(s syncer.Scope, text, namespace, name string) string {
	host := hostName(s, namespace, name)
	text = strings.ReplaceAll(text, s.Cluster.Namespace+"/"+host, namespace+"/"+name)
	return strings.ReplaceAll(text, host, name)
}
