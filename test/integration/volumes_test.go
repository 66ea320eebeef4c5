package integration

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestVolumesOfClaims(t *testing.T) {
	r := newRelease(t)
	r.startKinds(t, "persistentvolumeclaims", "persistentvolumes")
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: new("fast"),
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	if err := r.virtual.client.Create(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	name := "pvc-of-" + r.namespace
	eventually(t, "host claim", func(ctx context.Context) error { return r.bindClaim(ctx, name) })
	volume := &corev1.PersistentVolume{}
	eventually(t, "virtual claim and volume", func(ctx context.Context) error {
		if err := r.virtual.client.Get(ctx, client.ObjectKeyFromObject(claim), claim); err != nil {
			return err
		}
		if claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName != name {
			return fmt.Errorf("claim %s, volume %q", claim.Status.Phase, claim.Spec.VolumeName)
		}
		if err := r.virtual.client.Get(ctx, types.NamespacedName{Name: name}, volume); err != nil {
			return err
		}
		if ref := volume.Spec.ClaimRef; ref == nil || ref.UID != claim.UID || volume.Status.Phase != corev1.VolumeBound {
			return fmt.Errorf("volume %s, claim %v", volume.Status.Phase, ref)
		}
		return nil
	})
	r.changesAttributes(t, claim)
	if err := r.virtual.client.Delete(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	eventually(t, "volume gone with its claim", func(ctx context.Context) error {
		err := r.virtual.client.Get(ctx, types.NamespacedName{Name: name}, volume)
		if err == nil {
			return fmt.Errorf("volume is %s, finalizers %v", volume.Status.Phase, volume.Finalizers)
		}
		return client.IgnoreNotFound(err)
	})
}

// bindClaim does to the host claim what a provisioner does.
func (r *release) bindClaim(ctx context.Context, volume string) error {
	host := &corev1.PersistentVolumeClaim{}
	if err := r.host.client.Get(ctx, r.hostKey("data"), host); err != nil {
		return err
	}
	before := host.DeepCopy()
	host.Spec.VolumeName = volume
	if err := r.host.client.Patch(ctx, host, client.MergeFrom(before)); err != nil {
		return err
	}
	before = host.DeepCopy()
	host.Status.Phase = corev1.ClaimBound
	host.Status.Capacity = host.Spec.Resources.Requests
	host.Status.AccessModes = host.Spec.AccessModes
	return r.host.client.Status().Patch(ctx, host, client.MergeFrom(before))
}

// changesAttributes gives a bound claim another class of attributes, and waits until it is on the host.
func (r *release) changesAttributes(t *testing.T, claim *corev1.PersistentVolumeClaim) {
	t.Helper()
	before := claim.DeepCopy()
	claim.Spec.VolumeAttributesClassName = new("gold")
	if err := r.virtual.client.Patch(t.Context(), claim, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "attributes of the host claim", func(ctx context.Context) error {
		host := &corev1.PersistentVolumeClaim{}
		if err := r.host.client.Get(ctx, r.hostKey(claim.Name), host); err != nil {
			return err
		}
		if class := host.Spec.VolumeAttributesClassName; class == nil || *class != "gold" {
			return fmt.Errorf("the host claim has %v", class)
		}
		return nil
	})
}
