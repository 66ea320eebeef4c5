// Package volumes makes the volumes of a local host: each one is a folder of the node.
//
// The usual provisioner for that runs a pod for each folder that it creates or deletes. A pod takes seconds, and each
// virtual cluster of a test waits for one. This one runs on the node and needs none.
package volumes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// Name is the provisioner that a storage class names.
const Name = "sublet.dev/folders"

// folders makes a folder for each claim. It implements controller.Provisioner.
type folders struct{ root string }

// New returns a provisioner of folders below root.
func New(root string) controller.Provisioner { return folders{root: root} }

// Provision makes the folder of a claim. Each user may write to it: a node applies no group of a pod to such volumes.
// Only root gets into the folder above it.
func (f folders) Provision(_ context.Context, options controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	if err := check(options); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	folder := filepath.Join(f.root, options.PVName)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	if err := os.Chmod(folder, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	kind := corev1.HostPathDirectory
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   options.PVC.Spec.AccessModes,
			VolumeMode:                    options.PVC.Spec.VolumeMode,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: options.PVC.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: folder, Type: &kind}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{
					Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{options.SelectedNodeName},
				}},
			}}}},
		},
	}, controller.ProvisioningFinished, nil
}

// check refuses what a folder of one node cannot be.
func check(options controller.ProvisionOptions) error {
	if options.PVC.Spec.Selector != nil {
		return fmt.Errorf("claim %s has a selector, which folders of a node cannot fulfil", options.PVC.Name)
	}
	for _, mode := range options.PVC.Spec.AccessModes {
		if !slices.Contains([]corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadWriteOncePod}, mode) {
			return fmt.Errorf("claim %s asks for %s, folders of a node have ReadWriteOnce and ReadWriteOncePod", options.PVC.Name, mode)
		}
	}
	if options.SelectedNodeName == "" {
		return fmt.Errorf("claim %s has no node yet", options.PVC.Name)
	}
	return nil
}

// Delete deletes the folder of a volume. It goes by the name, as the path in the volume may have changed.
func (f folders) Delete(_ context.Context, volume *corev1.PersistentVolume) error {
	return os.RemoveAll(filepath.Join(f.root, volume.Name))
}
