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
	// referencePatience is how long a new pod waits at most for the copies of what it refers to.
	referencePatience = 10 * time.Second
	// referencePause is the shortest time between two checks. The time grows with the age of the
	// pod, divided by referenceGrowth. Copies usually exist within milliseconds, and a pod whose
	// copies are refused must not keep the workers busy.
	referencePause  = 50 * time.Millisecond
	referenceGrowth = 4
)

// awaitsReferences reports whether a new pod waits for the copies of the ConfigMaps and Secrets that it
// refers to. A kubelet reads them when it starts the containers, whose environment never changes. It
// would read the content of before, or of an earlier object of that name. It waits for missing
// objects only if they are required.
func (p *pods) awaitsReferences(s syncer.Scope, virtual *corev1.Pod) (bool, error) {
	pause := referenceDelay(s.Now.Sub(virtual.CreationTimestamp.Time))
	if pause == 0 || virtual.DeletionTimestamp != nil || p.started(s, virtual, nil) {
		return false, nil
	}
	settings := p.options.Sync
	configMaps, secrets, _ := translate.References(virtual)
	for _, referred := range []struct {
		names   []string
		virtual client.Object
		host    client.Object
		enabled bool
	}{
		{configMaps, emptyCached("ConfigMap", &corev1.ConfigMap{}, settings.ToHost.ConfigMaps.All), &corev1.ConfigMap{}, settings.IsEnabled("sync.toHost.configMaps")},
		{secrets, emptyCached("Secret", &corev1.Secret{}, settings.ToHost.Secrets.All), &corev1.Secret{}, settings.IsEnabled("sync.toHost.secrets")},
	} {
		for _, name := range referred.names {
			if !referred.enabled {
				continue
			}
			late, err := isCopyLate(s, virtual.Namespace, name, referred.virtual, referred.host)
			if err != nil || late {
				s.RequeueAfter(pause)
				return late, err
			}
		}
	}
	return false, nil
}

// referenceDelay returns the time until the next check for a pod of some age, zero if it no longer
// waits. The age may be negative if the clocks differ.
func referenceDelay(age time.Duration) time.Duration {
	if age.Abs() >= referencePatience {
		return 0
	}
	return min(referencePatience-age, max(referencePause, age/referenceGrowth))
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

// isCopyLate reports whether the copy of a virtual object is missing, older than the object, or a
// copy of an earlier object of that name. It is false for a terminating object, which gets no copy.
func isCopyLate(s syncer.Scope, namespace, name string, virtual, host client.Object) (bool, error) {
	exists, err := lookUp(s, syncer.Virtual, types.NamespacedName{Namespace: namespace, Name: name}, virtual)
	if err != nil || exists && virtual.GetDeletionTimestamp() != nil {
		return false, err
	}
	copied, err := lookUp(s, syncer.Host, types.NamespacedName{Namespace: s.Cluster.Namespace, Name: hostName(s, namespace, name)}, host)
	if err != nil || !exists {
		return copied, err
	}
	return !copied || host.GetAnnotations()[labels.VirtualUID] != string(virtual.GetUID()) || !s.IsCopied(virtual, host), nil
}
