package kinds

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// ServiceLinks creates a host ConfigMap for each virtual namespace that has had a pod. It has the
// service links of that namespace, which are environment variables with the addresses of Services.
// Host pods refer to it, so that a restarted container gets the variables of later Services too.
func ServiceLinks(_ Options) syncer.Resource[*corev1.Namespace, *corev1.ConfigMap] {
	return syncer.Resource[*corev1.Namespace, *corev1.ConfigMap]{
		Owner: syncer.Virtual,
		Names: translate.Derived(translate.LinksRole),
		Want:  shouldHaveLinks,
		Down: func(s syncer.Scope, virtual *corev1.Namespace, host *corev1.ConfigMap) error {
			services, err := servicesOf(s, virtual.Name)
			if err != nil {
				return err
			}
			translate.ServiceLinks(services, host)
			return nil
		},
		StatusBlind: true,
		Also: []syncer.Watch{
			{Side: syncer.Virtual, Object: &corev1.Service{}, StatusBlind: true, Keys: namespaceOf},
			{Side: syncer.Virtual, Object: &corev1.Pod{}, StatusBlind: true, Keys: namespaceWithoutLinks},
		},
	}
}

// linksWait is how long a new pod waits at most for the variables of Services that are older than the
// pod. The ConfigMap is usually written within milliseconds, unless the host refuses it.
const linksWait = 2 * time.Second

// shouldHaveLinks reports whether a namespace has had a pod. Most pods refer to the ConfigMap,
// so it stays until the namespace is gone.
func shouldHaveLinks(s syncer.Scope, virtual *corev1.Namespace, host *corev1.ConfigMap) (bool, error) {
	if host != nil {
		return true, nil
	}
	var pods corev1.PodList
	err := s.Virtual.List(s.Context, &pods, client.InNamespace(virtual.Name), client.Limit(1), client.UnsafeDisableDeepCopy)
	if err != nil {
		return false, fmt.Errorf("cannot list pods of namespace %s: %w", virtual.Name, err)
	}
	return len(pods.Items) > 0, nil
}

// servicesOf returns the Services of a virtual namespace.
func servicesOf(s syncer.Scope, namespace string) ([]corev1.Service, error) {
	var services corev1.ServiceList
	if err := s.Virtual.List(s.Context, &services, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list Services of namespace %s: %w", namespace, err)
	}
	return services.Items, nil
}

// readLinks returns the ConfigMap with the variables of a virtual namespace, nil if there is
// none.
func readLinks(s syncer.Scope, namespace string) (*corev1.ConfigMap, error) {
	key, links := translate.LinksKey(s.Cluster, namespace), &corev1.ConfigMap{}
	if found, err := lookUp(s, syncer.Host, key, links); err != nil || !found {
		return nil, err
	}
	return links, nil
}

// namespaceOf returns the key of the namespace of an object.
func namespaceOf(_ syncer.Scope, object client.Object) ([]types.NamespacedName, error) {
	return []types.NamespacedName{{Name: object.GetNamespace()}}, nil
}

// namespaceWithoutLinks returns the key of the namespace of a pod, unless it has a ConfigMap.
func namespaceWithoutLinks(s syncer.Scope, pod client.Object) ([]types.NamespacedName, error) {
	links, err := readLinks(s, pod.GetNamespace())
	if err != nil || links != nil {
		return nil, err
	}
	return namespaceOf(s, pod)
}

// awaitsLinks reports whether a new pod waits for the variables of Services.
func (p *pods) awaitsLinks(s syncer.Scope, virtual *corev1.Pod) (bool, error) {
	wait := virtual.CreationTimestamp.Add(linksWait).Sub(s.Now)
	if wait <= 0 || virtual.DeletionTimestamp != nil || !translate.HasServiceLinks(virtual) || p.started(s, virtual, nil) {
		return false, nil
	}
	links, err := readLinks(s, virtual.Namespace)
	if err != nil {
		return false, err
	}
	if links != nil {
		services, err := servicesOf(s, virtual.Namespace)
		if err != nil || translate.HasLinks(services, virtual, links) {
			return false, err
		}
	}
	s.RequeueAfter(wait)
	return true, nil
}

// lacksLinks reports whether a pod lacks the variables of some Services, because there are too many.
func lacksLinks(s syncer.Scope, virtual *corev1.Pod) (bool, error) {
	if !translate.HasServiceLinks(virtual) {
		return false, nil
	}
	links, err := readLinks(s, virtual.Namespace)
	return links != nil && translate.LacksServiceLinks(links), err
}

// podsOfLinks returns the virtual pods that may wait for the variables of a ConfigMap.
func podsOfLinks(s syncer.Scope, links client.Object) ([]types.NamespacedName, error) {
	namespace, _, ours := translate.Origin(s.Cluster, translate.Derived(translate.LinksRole), links)
	if !ours {
		return nil, nil
	}
	var pods corev1.PodList
	if err := s.Virtual.List(s.Context, &pods, client.InNamespace(namespace.Name), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list pods of namespace %s: %w", namespace.Name, err)
	}
	return keysOf(pods.Items, func(pod *corev1.Pod) bool { return s.Now.Before(pod.CreationTimestamp.Add(linksWait)) }), nil
}
