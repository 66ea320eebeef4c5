package kinds

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// referred is a kind of which the host needs just the objects that pods refer to.
// field is the name of the index of pods by the names of those objects, names are
// the names that one pod refers to.
type referred struct {
	field string
	names func(pod *corev1.Pod) []string
}

// referredConfigMaps are the ConfigMaps that pods refer to.
func referredConfigMaps() referred {
	return referred{field: "configmaps", names: func(pod *corev1.Pod) []string {
		names, _, _ := translate.References(pod)
		return names
	}}
}

// referredSecrets are the Secrets that pods refer to.
func referredSecrets() referred {
	return referred{field: "secrets", names: func(pod *corev1.Pod) []string {
		_, names, _ := translate.References(pod)
		return names
	}}
}

// indexes is the index of virtual pods by what they refer to.
func (r referred) indexes() []syncer.Index {
	return []syncer.Index{{Side: syncer.Virtual, Object: &corev1.Pod{}, Field: r.field, Values: func(o client.Object) []string {
		if pod, ok := o.(*corev1.Pod); ok {
			return r.names(pod)
		}
		return nil
	}}}
}

// also requeues what a virtual pod refers to when the pod comes or goes.
func (r referred) also() []syncer.Watch {
	return []syncer.Watch{{Side: syncer.Virtual, Object: &corev1.Pod{}, StatusBlind: true, Keys: func(_ syncer.Scope, o client.Object) ([]types.NamespacedName, error) {
		pod, ok := o.(*corev1.Pod)
		if !ok {
			return nil, nil
		}
		var keys []types.NamespacedName
		for _, name := range r.names(pod) {
			keys = append(keys, types.NamespacedName{Namespace: pod.Namespace, Name: name})
		}
		return keys, nil
	}}}
}

// wanted says whether any pod refers to virtual.
func (r referred) wanted(s syncer.Scope, virtual client.Object) (bool, error) {
	var pods corev1.PodList
	err := s.Virtual.List(s.Context, &pods, client.InNamespace(virtual.GetNamespace()),
		client.MatchingFields{r.field: virtual.GetName()}, client.Limit(1), client.UnsafeDisableDeepCopy)
	return len(pods.Items) > 0, err
}
