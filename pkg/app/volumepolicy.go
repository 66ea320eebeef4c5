package app

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// volumePolicies changes the reclaim policy of host volumes.
type volumePolicies struct {
	host    kubernetes.Interface
	cluster translate.Cluster
}

// set sets the reclaim policy of the host volume behind a virtual volume.
func (v volumePolicies) set(ctx context.Context, virtual *corev1.PersistentVolume, policy corev1.PersistentVolumeReclaimPolicy, dryRun bool) error {
	ctx, cancel := context.WithTimeout(ctx, hostViewTimeout)
	defer cancel()
	volume, err := v.find(ctx, virtual)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": volume.ResourceVersion},
		"spec":     map[string]any{"persistentVolumeReclaimPolicy": policy},
	})
	if err != nil {
		return fmt.Errorf("cannot encode patch for host volume %s: %w", virtual.Name, err)
	}
	options := metav1.PatchOptions{}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	if _, err := v.host.CoreV1().PersistentVolumes().Patch(ctx, virtual.Name, types.MergePatchType, patch, options); err != nil {
		return fmt.Errorf("cannot patch host volume %s: %w", virtual.Name, err)
	}
	return nil
}

// find returns the host volume behind a virtual volume. The tenant could forge everything in the
// virtual cluster. So live reads of the host's claim and volume prove that the volume is the
// tenant's.
func (v volumePolicies) find(ctx context.Context, virtual *corev1.PersistentVolume) (*corev1.PersistentVolume, error) {
	gone := apierrors.NewNotFound(corev1.Resource("persistentvolumes"), virtual.Name)
	if virtual.Spec.ClaimRef == nil {
		return nil, gone
	}
	origin := types.NamespacedName{Namespace: virtual.Spec.ClaimRef.Namespace, Name: virtual.Spec.ClaimRef.Name}
	key := translate.Hashed(v.cluster, origin)
	claim, err := v.host.CoreV1().PersistentVolumeClaims(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot get host claim %s: %w", key, err)
	}
	proven, _, ours := translate.Origin(v.cluster, translate.Hashed, claim)
	if !ours || proven != origin || claim.Spec.VolumeName != virtual.Name || string(claim.UID) != virtual.Annotations[labels.HostUID] {
		return nil, gone
	}
	volume, err := v.host.CoreV1().PersistentVolumes().Get(ctx, virtual.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot get host volume %s: %w", virtual.Name, err)
	}
	if ref := volume.Spec.ClaimRef; ref == nil || ref.UID != claim.UID {
		return nil, gone
	}
	return volume, nil
}
