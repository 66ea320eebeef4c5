package kinds

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

const (
	// volumeClaimsSetting is the path of the settings of the tenant's claims.
	volumeClaimsSetting = "sync.toHost.persistentVolumeClaims"
	// claimPause is the time between two looks for the copy of a claim.
	claimPause = 50 * time.Millisecond
	// claimPatience is how long a new claim may have no copy. After that the host reports that
	// there is none.
	claimPatience = 10 * time.Second
)

// awaitsVolumes reports whether a pod of the virtual scheduler waits for the copies of its
// claims. The host would refuse the node, and the pod would move to another one. A claim and
// its pod are often created together, and the copies in any order.
func (p pods) awaitsVolumes(s syncer.Scope, virtual *corev1.Pod) (bool, error) {
	if !p.options.usesVirtualScheduler(virtual) || !p.options.Sync.IsEnabled(volumeClaimsSetting) {
		return false, nil
	}
	for i := range virtual.Spec.Volumes {
		waits, err := awaitsCopy(s, virtual, &virtual.Spec.Volumes[i])
		if err != nil || waits {
			return waits, err
		}
	}
	return false, nil
}

// awaitsCopy reports whether the claim of a volume is new and has no copy.
func awaitsCopy(s syncer.Scope, virtual *corev1.Pod, volume *corev1.Volume) (bool, error) {
	key := types.NamespacedName{Namespace: virtual.Namespace}
	switch {
	case volume.PersistentVolumeClaim != nil:
		key.Name = volume.PersistentVolumeClaim.ClaimName
	case volume.Ephemeral != nil:
		key.Name = translate.EphemeralClaim(virtual.Name, volume.Name)
	default:
		return false, nil
	}
	var claim corev1.PersistentVolumeClaim
	copied := types.NamespacedName{Namespace: s.Cluster.Namespace, Name: hostName(s, key.Namespace, key.Name)}
	if found, err := lookUp(s, syncer.Host, copied, &claim); err != nil || found {
		return false, err
	}
	if found, err := lookUp(s, syncer.Virtual, key, &claim); err != nil || !found {
		return false, err
	}
	if s.Now.Sub(claim.CreationTimestamp.Time) >= claimPatience {
		return false, nil
	}
	s.RequeueAfter(claimPause)
	return true, nil
}
