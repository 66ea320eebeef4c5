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
	// optionalPause is the shortest time between two looks at them. It grows to a part of the age
	// of the pod, optionalGrowth. Copies are made within milliseconds, and a pod whose copies are
	// refused is not to take workers from others.
	optionalPause  = 50 * time.Millisecond
	optionalGrowth = 4
)

// awaitsOptional reports whether a new pod waits for the copies of ConfigMaps and Secrets that it
// refers to as optional, and that exist. A kubelet tries again when another one is missing. These
// it would leave out, and a container keeps the environment that it has started with.
func (p pods) awaitsOptional(s syncer.Scope, virtual *corev1.Pod) (bool, error) {
	pause := optionalDelay(s.Now.Sub(virtual.CreationTimestamp.Time))
	if pause == 0 || virtual.DeletionTimestamp != nil || p.started(s, virtual, nil) {
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
				s.RequeueAfter(pause)
				return late, err
			}
		}
	}
	return false, nil
}

// optionalDelay returns the time until the next look at the copies for a pod of some age, zero
// if it waits no more. An age far below zero is of a clock that was ahead.
func optionalDelay(age time.Duration) time.Duration {
	if age.Abs() >= optionalPatience {
		return 0
	}
	return min(optionalPatience-age, max(optionalPause, age/optionalGrowth))
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

// isCopyLate reports whether a virtual object exists and has no copy yet. One that is being deleted
// gets none.
func isCopyLate(s syncer.Scope, namespace, name string, virtual, host client.Object) (bool, error) {
	found, err := lookUp(s, syncer.Virtual, types.NamespacedName{Namespace: namespace, Name: name}, virtual)
	if err != nil || !found || virtual.GetDeletionTimestamp() != nil {
		return false, err
	}
	found, err = lookUp(s, syncer.Host, types.NamespacedName{Namespace: s.Cluster.Namespace, Name: hostName(s, namespace, name)}, host)
	return !found || host.GetAnnotations()[labels.VirtualUID] != string(virtual.GetUID()), err
}
