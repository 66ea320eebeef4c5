package kinds

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// The annotations with which the volume binder of Kubernetes marks a bound claim.
const (
	bindCompleted     = "pv.kubernetes.io/bind-completed"
	boundByController = "pv.kubernetes.io/bound-by-controller"
)

// selectedNode is the annotation with the node for which the host makes a volume.
const selectedNode = "volume.kubernetes.io/selected-node"

// PersistentVolumeClaims copies the tenant's claims to the host, whose storage classes and
// provisioners serve them. A class that waits for the first consumer sees the host pod,
// which uses the host claim.
func PersistentVolumeClaims(Options) syncer.Resource[*corev1.PersistentVolumeClaim, *corev1.PersistentVolumeClaim] {
	return syncer.Resource[*corev1.PersistentVolumeClaim, *corev1.PersistentVolumeClaim]{
		Owner: syncer.Virtual,
		Names: translate.Hashed,
		Down:  fillHostClaim,
		Up:    fillVirtualClaim,
	}
}

// fillHostClaim fills in the host claim. Once it exists, only its size and its attributes
// class change. The host picks the volume, so volumeName is left out. A selector is passed
// as it is: a claim that requests certain volumes must not get any other.
func fillHostClaim(s syncer.Scope, virtual, host *corev1.PersistentVolumeClaim) error {
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
	if class, named := translate.ClaimClass(virtual.Annotations, &virtual.Spec); named {
		spec.StorageClassName = &class
	}
	if source := spec.DataSource; source != nil {
		source.Name = hostName(s, virtual.Namespace, source.Name)
	}
	if source := spec.DataSourceRef; source != nil {
		if source.Namespace != nil && *source.Namespace != virtual.Namespace {
			return &translate.UnsupportedError{Problems: []error{fmt.Errorf(
				"spec.dataSourceRef.namespace: a volume can only be filled from an object of the claim's namespace, not of %s", *source.Namespace)}}
		}
		source.Name = hostName(s, virtual.Namespace, source.Name)
		source.Namespace = nil
	}
	host.Spec = spec
	return nil
}

// fillVirtualClaim copies the status, the node and the binding. The annotations of the volume
// binder show tools of the tenant that the claim is bound.
func fillVirtualClaim(_ syncer.Scope, host, virtual *corev1.PersistentVolumeClaim) error {
	conditions := mergeConditions(host.Status.Conditions, virtual.Status.Conditions)
	virtual.Status = host.Status
	virtual.Status.Conditions = conditions
	setSelectedNode(virtual, host.Annotations[selectedNode])
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

// setSelectedNode sets the node of a claim to the host's. The host takes it back if it cannot
// make the volume there, and another node gets its turn.
func setSelectedNode(virtual *corev1.PersistentVolumeClaim, node string) {
	if node == "" {
		delete(virtual.Annotations, selectedNode)
		return
	}
	if virtual.Annotations == nil {
		virtual.Annotations = map[string]string{}
	}
	virtual.Annotations[selectedNode] = node
}

// mergeConditions returns the host's conditions, except for the one that reports whether pods
// use the claim. A controller of the virtual cluster owns that one.
func mergeConditions(host, virtual []corev1.PersistentVolumeClaimCondition) []corev1.PersistentVolumeClaimCondition {
	unused := func(c corev1.PersistentVolumeClaimCondition) bool {
		return c.Type == corev1.PersistentVolumeClaimUnused
	}
	kept := slices.DeleteFunc(slices.Clone(host), unused)
	if i := slices.IndexFunc(virtual, unused); i >= 0 {
		kept = append(kept, virtual[i])
	}
	return kept
}
