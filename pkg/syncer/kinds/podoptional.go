package kinds

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

const (
	// optionalPatience is how long a new pod waits at most for copies that it may do without.
	optionalPatience = 10 * time.Second
	// optionalPause is the time between two looks at them.
	optionalPause = 50 * time.Millisecond
)

// awaitsOptional reports whether a new pod waits for the copies of ConfigMaps and Secrets that it
// refers to as optional, and that exist. A kubelet tries again when another one is missing. These
// it would leave out, and a container keeps the environment that it has started with.
func (p pods) awaitsOptional(s syncer.Scope, virtual *corev1.Pod) (bool, error) {
	wait := virtual.CreationTimestamp.Add(optionalPatience).Sub(s.Now)
	if wait <= 0 || virtual.DeletionTimestamp != nil || p.started(s, virtual, nil) {
		return false, nil
	}
	settings := p.options.Sync
	configMaps, secrets := translate.OptionalReferences(virtual)
	for _, optional := range []struct {
		names   []string
		virtual client.Object
		host    client.Object
		enabled bool
	}{
		{configMaps, bodiless("ConfigMap", &corev1.ConfigMap{}, settings.ToHost.ConfigMaps.All), &corev1.ConfigMap{}, settings.IsEnabled("sync.toHost.configMaps")},
		{secrets, bodiless("Secret", &corev1.Secret{}, settings.ToHost.Secrets.All), &corev1.Secret{}, settings.IsEnabled("sync.toHost.secrets")},
	} {
		for _, name := range optional.names {
			if !optional.enabled {
				continue
			}
			late, err := isCopyLate(s, virtual.Namespace, name, optional.virtual, optional.host)
			if err != nil || late {
				s.RequeueAfter(min(wait, optionalPause))
				return late, err
			}
		}
	}
	return false, nil
}

// bodiless returns an empty object to read what the cache has of a kind: the whole objects, or
// their metadata alone.
func bodiless(kind string, whole client.Object, all bool) client.Object {
	if all {
		return whole
	}
	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
	return metadata
}

// isCopyLate reports whether a virtual object exists and has no copy yet.
func isCopyLate(s syncer.Scope, namespace, name string, virtual, host client.Object) (bool, error) {
	found, err := lookUp(s, syncer.Virtual, types.NamespacedName{Namespace: namespace, Name: name}, virtual)
	if err != nil || !found {
		return false, err
	}
	found, err = lookUp(s, syncer.Host, types.NamespacedName{Namespace: s.Cluster.Namespace, Name: hostName(s, namespace, name)}, host)
	return !found || host.GetAnnotations()[labels.VirtualUID] != string(virtual.GetUID()), err
}
