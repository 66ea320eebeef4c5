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
	// optionalPatience is how long a new pod waits at most for the copies of optional objects.
	optionalPatience = 10 * time.Second
	// optionalPause is the shortest time between two checks. The time grows with the age of the
	// pod, divided by optionalGrowth. Copies usually exist within milliseconds, and a pod whose
	// copies are refused must not keep the workers busy.
	optionalPause  = 50 * time.Millisecond
	optionalGrowth = 4
)

// awaitsOptional reports whether a new pod waits for the copies of existing ConfigMaps and Secrets to
// which it has optional references. A kubelet waits for missing objects only if they are required.
// It would start the containers without the optional ones, and their environment never changes.
func (p *pods) awaitsOptional(s syncer.Scope, virtual *corev1.Pod) (bool, error) {
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
		{configMaps, emptyCached("ConfigMap", &corev1.ConfigMap{}, settings.ToHost.ConfigMaps.All), &corev1.ConfigMap{}, settings.IsEnabled("sync.toHost.configMaps")},
		{secrets, emptyCached("Secret", &corev1.Secret{}, settings.ToHost.Secrets.All), &corev1.Secret{}, settings.IsEnabled("sync.toHost.secrets")},
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

// optionalDelay returns the time until the next check for a pod of some age, zero if it no longer
// waits. The age may be negative if the clocks differ.
func optionalDelay(age time.Duration) time.Duration {
	if age.Abs() >= optionalPatience {
		return 0
	}
	return min(optionalPatience-age, max(optionalPause, age/optionalGrowth))
}

// emptyCached returns an empty object in the form in which a kind is cached: whole objects if all are
// synced, else metadata.
func emptyCached(kind string, whole client.Object, all bool) client.Object {
	if all {
		return whole
	}
	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
	return metadata
}

// isCopyLate reports whether a virtual object exists and has no copy yet. It is false for a terminating
// one, which gets no copy.
func isCopyLate(s syncer.Scope, namespace, name string, virtual, host client.Object) (bool, error) {
	found, err := lookUp(s, syncer.Virtual, types.NamespacedName{Namespace: namespace, Name: name}, virtual)
	if err != nil || !found || virtual.GetDeletionTimestamp() != nil {
		return false, err
	}
	found, err = lookUp(s, syncer.Host, types.NamespacedName{Namespace: s.Cluster.Namespace, Name: hostName(s, namespace, name)}, host)
	return !found || host.GetAnnotations()[labels.VirtualUID] != string(virtual.GetUID()), err
}
