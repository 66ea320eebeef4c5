package kinds

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// message is the host's message with virtual names: of the object itself and of
// all that a pod refers to.
func (e events) message(s syncer.Scope, host *corev1.Event, object types.NamespacedName) string {
	text := renamed(s, host.Message, object.Namespace, object.Name)
	if host.InvolvedObject.Kind != "Pod" || !strings.Contains(text, s.Cluster.Namespace) && !mayName(text) {
		return text
	}
	var pod corev1.Pod
	if err := s.Virtual.Get(s.Context, object, &pod, client.UnsafeDisableDeepCopy); err != nil {
		return text
	}
	configMaps, secrets, claims := translate.References(&pod)
	for _, names := range [][]string{configMaps, secrets, claims} {
		for _, name := range names {
			text = renamed(s, text, object.Namespace, name)
		}
	}
	return text
}

// mayName says whether a message may name an object that a pod refers to.
func mayName(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "configmap") || strings.Contains(text, "secret") ||
		strings.Contains(text, "claim") || strings.Contains(text, "volume")
}

// renamed is text in which the virtual object stands in the place of its host
// copy.
func renamed(s syncer.Scope, text, namespace, name string) string {
	host := hostName(s, namespace, name)
	text = strings.ReplaceAll(text, s.Cluster.Namespace+"/"+host, namespace+"/"+name)
	return strings.ReplaceAll(text, host, name)
}
