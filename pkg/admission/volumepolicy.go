package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/labels"
)

// VolumeOptions configure [Volumes].
type VolumeOptions struct {
	// IsSyncer reports whether a request comes from the syncer. Default: no request does.
	IsSyncer func(ctx context.Context) bool
	// SetReclaimPolicy sets the reclaim policy of the host volume behind a virtual one. It
	// fails if that is not the volume of a claim of this virtual cluster. With dryRun the host
	// keeps nothing.
	SetReclaimPolicy func(ctx context.Context, virtual *corev1.PersistentVolume, policy corev1.PersistentVolumeReclaimPolicy, dryRun bool) error
}

// VolumeStep changes the reclaim policy of a host volume before that of the virtual one. It
// runs when everything that can deny the request has agreed.
type VolumeStep struct {
	options VolumeOptions
}

// Volumes returns the step for these options.
func Volumes(options VolumeOptions) *VolumeStep {
	if options.IsSyncer == nil {
		options.IsSyncer = func(context.Context) bool { return false }
	}
	return &VolumeStep{options: options}
}

// Prepare reports whether a request changes the reclaim policy of the copy of a host volume.
func (v *VolumeStep) Prepare(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (writes bool, err error) {
	if a.GetResource().GroupResource() != corev1.Resource("persistentvolumes") || a.GetSubresource() != "" ||
		a.GetOperation() != admission.Update || v.options.IsSyncer(ctx) {
		return false, nil
	}
	old, volume, err := bothVolumes(a, o)
	if err != nil || old.Annotations[labels.HostUID] == "" {
		return false, err
	}
	return old.Spec.PersistentVolumeReclaimPolicy != volume.Spec.PersistentVolumeReclaimPolicy, nil
}

// Apply changes the host volume.
func (v *VolumeStep) Apply(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	old, volume, err := bothVolumes(a, o)
	if err != nil {
		return err
	}
	if err := v.options.SetReclaimPolicy(ctx, old, volume.Spec.PersistentVolumeReclaimPolicy, a.IsDryRun()); err != nil {
		return fromHostError(a, types.NamespacedName{Name: old.Name}, err)
	}
	return nil
}

// bothVolumes returns both states of a volume that is updated.
func bothVolumes(a admission.Attributes, o admission.ObjectInterfaces) (old, volume *corev1.PersistentVolume, err error) {
	if old, err = toV1[corev1.PersistentVolume](a.GetOldObject(), o); err != nil {
		return nil, nil, err
	}
	volume, err = toV1[corev1.PersistentVolume](a.GetObject(), o)
	return old, volume, err
}
