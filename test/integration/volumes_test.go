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
	claim := r.claim()
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

// claim returns the claim data.
func (r *release) claim() *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: new("fast"),
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
}

// TestPodOfClaimMadeAgain deletes a claim and creates it again with a pod, while the host still
// has the claim with the earlier data. The pod must not get that.
func TestPodOfClaimMadeAgain(t *testing.T) {
	r := newRelease(t)
	r.startSome(t, r.allKinds(), "pods", "persistentvolumeclaims")
	if err := r.virtual.client.Create(t.Context(), r.claim()); err != nil {
		t.Fatal(err)
	}
	host := &corev1.PersistentVolumeClaim{}
	eventually(t, "host claim", func(ctx context.Context) error { return r.host.client.Get(ctx, r.hostKey("data"), host) })
	held := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.com/held"]}}`))
	if err := r.host.client.Patch(t.Context(), host, held); err != nil {
		t.Fatal(err)
	}
	if err := r.virtual.client.Delete(t.Context(), r.claim()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "claim gone", func(ctx context.Context) error {
		err := r.virtual.client.Get(ctx, client.ObjectKeyFromObject(r.claim()), &corev1.PersistentVolumeClaim{})
		if err == nil {
			return fmt.Errorf("it is there")
		}
		return client.IgnoreNotFound(err)
	})
	if err := r.virtual.client.Create(t.Context(), r.claim()); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "user"},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "main", Image: "registry.test/app"}}, EnableServiceLinks: new(false),
			Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}},
		},
	}
	if err := r.virtual.client.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the tenant knows what the pod waits for", func(ctx context.Context) error { return r.hasEvent(ctx, pod, "earlier claim data") })
	if err := r.host.client.Get(t.Context(), r.hostKey("user"), &corev1.Pod{}); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("the pod may start with the data of the earlier claim: %v", err)
	}
	free := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
	if err := r.host.client.Patch(t.Context(), host, free); err != nil {
		t.Fatal(err)
	}
	eventually(t, "host pod", func(ctx context.Context) error { return r.host.client.Get(ctx, r.hostKey("user"), &corev1.Pod{}) })
	now := &corev1.PersistentVolumeClaim{} // The host waits for the next one by itself.
	if err := r.host.client.Get(t.Context(), r.hostKey("data"), now); client.IgnoreNotFound(err) != nil || now.UID == host.UID {
		t.Errorf("the pod starts while the host has the claim %q, and %q is the earlier one; %v", now.UID, host.UID, err)
	}
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
