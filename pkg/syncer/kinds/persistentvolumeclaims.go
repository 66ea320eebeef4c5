package kinds

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// The annotations by which Kubernetes' own volume binder marks a claim as done.
const (
	bindCompleted     = "pv.kubernetes.io/bind-completed"
	boundByController = "pv.kubernetes.io/bound-by-controller"
)

// PersistentVolumeClaims copies the tenant's claims to the host, whose classes
// and provisioners serve them. A class that waits for the first consumer sees the
// host pod, which uses the host claim.
func PersistentVolumeClaims(Options) syncer.Resource[*corev1.PersistentVolumeClaim, *corev1.PersistentVolumeClaim] {
	return syncer.Resource[*corev1.PersistentVolumeClaim, *corev1.PersistentVolumeClaim]{
		Owner: syncer.Virtual,
		Names: translate.Hashed,
		Down:  claimDown,
		Up:    claimUp,
	}
}

// claimDown fills in the host claim. Once it exists, only its size and its
// attributes class can change. Which volume it gets is the host's to say, so the
// tenant's volumeName stays behind; a selector goes down as it is, as a claim
// that asks for certain volumes must not get any other.
func claimDown(s syncer.Scope, virtual, host *corev1.PersistentVolumeClaim) error {
	host.Labels = translate.SyncLabels(host.Labels, virtual.Labels)
	if host.ResourceVersion != "" {
		host.Spec.Resources = virtual.Spec.Resources
		if virtual.Spec.VolumeAttributesClassName != nil {
			host.Spec.VolumeAttributesClassName = virtual.Spec.VolumeAttributesClassName
		}
		return nil
	}
	spec := virtual.Spec
	spec.VolumeName = ""
	if source := spec.DataSource; source != nil {
		source.Name = hostName(s, virtual.Namespace, source.Name)
	}
	if source := spec.DataSourceRef; source != nil {
		if source.Namespace != nil && *source.Namespace != virtual.Namespace {
			return fmt.Errorf("claim %s/%s takes its data from namespace %s: a data source must be in the claim's own namespace",
				virtual.Namespace, virtual.Name, *source.Namespace)
		}
		source.Name = hostName(s, virtual.Namespace, source.Name)
		source.Namespace = nil
	}
	host.Spec = spec
	return nil
}

// claimUp brings back the status and the binding. The marks of the volume binder
// tell tools of the tenant that nobody is going to bind the claim anew.
func claimUp(_ syncer.Scope, host, virtual *corev1.PersistentVolumeClaim) error {
	conditions := claimConditions(host.Status.Conditions, virtual.Status.Conditions)
	virtual.Status = host.Status
	virtual.Status.Conditions = conditions
	if host.Spec.VolumeName == "" {
		return nil
	}
	if virtual.Spec.VolumeName == "" {
		virtual.Spec.VolumeName = host.Spec.VolumeName
	}
	if virtual.Spec.StorageClassName == nil {
		virtual.Spec.StorageClassName = host.Spec.StorageClassName
	}
	if virtual.Annotations == nil {
		virtual.Annotations = map[string]string{}
	}
	for _, mark := range []string{bindCompleted, boundByController} {
		if _, ok := virtual.Annotations[mark]; !ok {
			virtual.Annotations[mark] = "yes"
		}
	}
	return nil
}

// claimConditions is the host's conditions but for the one that says whether pods
// use the claim: a controller of the virtual cluster keeps that one.
func claimConditions(host, virtual []corev1.PersistentVolumeClaimCondition) []corev1.PersistentVolumeClaimCondition {
	unused := func(c corev1.PersistentVolumeClaimCondition) bool {
		return c.Type == corev1.PersistentVolumeClaimUnused
	}
	kept := slices.DeleteFunc(slices.Clone(host), unused)
	if i := slices.IndexFunc(virtual, unused); i >= 0 {
		kept = append(kept, virtual[i])
	}
	return kept
}

// accessModes is a claim's access modes, as its volume grants them.
func accessModes(claim *corev1.PersistentVolumeClaim) []corev1.PersistentVolumeAccessMode {
	if len(claim.Status.AccessModes) > 0 {
		return claim.Status.AccessModes
	}
	return claim.Spec.AccessModes
}
