package kinds

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// byVolume is the field of the index of host claims by their volume.
const byVolume = "spec.volumeName"

// PersistentVolumes creates a virtual volume for each bound host claim of ours. It has the name of the
// host's volume, and the fields that the claim shows. The host's volumes themselves are never read,
// because that would need a cluster-wide permission and disclose the volumes of others.
func PersistentVolumes(o Options) syncer.Resource[*corev1.PersistentVolume, *corev1.PersistentVolumeClaim] {
	return syncer.Resource[*corev1.PersistentVolume, *corev1.PersistentVolumeClaim]{
		Owner:        syncer.Host,
		Names:        translate.Same,
		Origin:       volumeOfClaim,
		FindOriginal: claimOfVolume,
		Want: func(_ syncer.Scope, virtual *corev1.PersistentVolume, host *corev1.PersistentVolumeClaim) (bool, error) {
			return virtual == nil || translate.IsOfHostObject(virtual, host), nil
		},
		Up: volumeKind{
			showsDrivers: o.Sync.IsEnabled("sync.fromHost.csiDrivers"), keepsPolicy: o.Sync.ToHost.PersistentVolumes.Enabled,
		}.fill,
		BeforeDelete: releaseVolume,
		Indexes:      []syncer.Index{{Side: syncer.Host, Object: &corev1.PersistentVolumeClaim{}, Field: byVolume, Values: volumeName}},
	}
}

func volumeName(o client.Object) []string {
	if claim, ok := o.(*corev1.PersistentVolumeClaim); ok && claim.Spec.VolumeName != "" {
		return []string{claim.Spec.VolumeName}
	}
	return nil
}

func volumeOfClaim(s syncer.Scope, host *corev1.PersistentVolumeClaim) (types.NamespacedName, bool) {
	_, ours := provenOrigin(s, host)
	return types.NamespacedName{Name: host.Spec.VolumeName}, ours && host.Spec.VolumeName != ""
}

func claimOfVolume(s syncer.Scope, virtual types.NamespacedName) (*corev1.PersistentVolumeClaim, bool, error) {
	var claims corev1.PersistentVolumeClaimList
	err := s.Host.List(s.Context, &claims, client.InNamespace(s.Cluster.Namespace),
		client.MatchingFields{byVolume: virtual.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, false, err
	}
	for i := range claims.Items {
		if _, ours := provenOrigin(s, &claims.Items[i]); ours {
			return &claims.Items[i], true, nil
		}
	}
	return nil, false, nil
}

// releaseVolume sets the phase of a volume without a claim. Until then, a protection
// finalizer keeps it.
func releaseVolume(_ syncer.Scope, virtual *corev1.PersistentVolume) error {
	virtual.Status.Phase = corev1.VolumeReleased
	return nil
}

// volumeKind is the kind with its settings.
type volumeKind struct {
	showsDrivers bool // if true, volumes have the CSI driver of the host
	keepsPolicy  bool // if true, tenants may change the reclaim policy, host-first
}

// fill fills in the virtual volume. Its reclaim policy is that of its class, which is normally that of
// the host's volume. If the settings allow it, package admission changes the policy host-first. The
// virtual volume itself is always deleted with its claim.
func (v volumeKind) fill(s syncer.Scope, host *corev1.PersistentVolumeClaim, virtual *corev1.PersistentVolume) error {
	claim, uid, _ := translate.Origin(s.Cluster, translate.Hashed, host)
	virtual.Spec.Capacity = host.Status.Capacity
	if len(virtual.Spec.Capacity) == 0 {
		virtual.Spec.Capacity = host.Spec.Resources.Requests
	}
	virtual.Spec.AccessModes = accessModes(host)
	virtual.Spec.VolumeMode = host.Spec.VolumeMode
	if class := host.Spec.StorageClassName; class != nil {
		virtual.Spec.StorageClassName = *class
	}
	var err error
	if !v.keepsPolicy || virtual.Spec.PersistentVolumeReclaimPolicy == "" {
		if virtual.Spec.PersistentVolumeReclaimPolicy, err = reclaimPolicy(s, virtual.Spec.StorageClassName); err != nil {
			return err
		}
	}
	if virtual.Spec.FlexVolume == nil && virtual.Spec.CSI == nil {
		if virtual.Spec.PersistentVolumeSource, err = v.buildSource(s, host); err != nil {
			return err
		}
	}
	if class := host.Status.CurrentVolumeAttributesClassName; class != nil && virtual.Spec.CSI != nil { // The API requires a driver for it.
		virtual.Spec.VolumeAttributesClassName = class
	}
	virtual.Spec.ClaimRef = &corev1.ObjectReference{
		APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: uid,
	}
	virtual.Status.Phase = corev1.VolumeBound
	return nil
}

// buildSource returns the source of a new virtual volume. With sync.fromHost.csiDrivers it is the CSI driver
// of the host, so that the virtual scheduler can count volumes per driver. The host mounts the
// volume in any case.
func (v volumeKind) buildSource(s syncer.Scope, host *corev1.PersistentVolumeClaim) (corev1.PersistentVolumeSource, error) {
	flex := corev1.PersistentVolumeSource{FlexVolume: &corev1.FlexPersistentVolumeSource{Driver: hostVolumeDriver}}
	driver := host.Annotations[provisionedBy]
	if driver == "" || !v.showsDrivers {
		return flex, nil
	}
	found, err := lookUp(s, syncer.Virtual, types.NamespacedName{Name: driver}, &storagev1.CSIDriver{})
	if err != nil || !found {
		return flex, err
	}
	return corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: host.Spec.VolumeName}}, nil
}

// accessModes returns the access modes that the volume grants, or those that the claim
// requests.
func accessModes(claim *corev1.PersistentVolumeClaim) []corev1.PersistentVolumeAccessMode {
	if len(claim.Status.AccessModes) > 0 {
		return claim.Status.AccessModes
	}
	return claim.Spec.AccessModes
}

// noProvisioner is the provisioner of a class whose volumes are created manually.
const noProvisioner = "kubernetes.io/no-provisioner"

// reclaimPolicy returns the reclaim policy of new volumes of a class. It is Delete for a class that the
// tenant does not see, and Retain, the default, for volumes that are created manually.
func reclaimPolicy(s syncer.Scope, name string) (corev1.PersistentVolumeReclaimPolicy, error) {
	var class storagev1.StorageClass
	found, err := lookUp(s, syncer.Virtual, types.NamespacedName{Name: name}, &class)
	switch {
	case err != nil:
		return "", err
	case !found:
		return corev1.PersistentVolumeReclaimDelete, nil
	case class.Provisioner == noProvisioner:
		return corev1.PersistentVolumeReclaimRetain, nil
	case class.ReclaimPolicy == nil:
		return corev1.PersistentVolumeReclaimDelete, nil
	}
	return *class.ReclaimPolicy, nil
}
