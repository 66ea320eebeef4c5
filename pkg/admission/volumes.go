package admission

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// addVolumeChecks adds the checks of claims, and of the volumes and classes that the host
// owns. Where claims are not synced, none of them reaches the host.
func addVolumeChecks(checks Checks, settings *v1alpha1.Config, host HostView) {
	checks.Add(storagev1.Resource("storageclasses"), checkStorageClasses)
	if !settings.Sync.IsEnabled("sync.toHost.persistentVolumeClaims") {
		return
	}
	c := claimCheck{rules: policy.NewClaims(settings), host: host}
	checks.Add(corev1.Resource("persistentvolumeclaims"), c.checkClaims)
	checks.Add(corev1.Resource("persistentvolumeclaims"), checkClaimQuantities)
	checks.Add(corev1.Resource("persistentvolumes"), checkVolumes(settings.Sync.ToHost.PersistentVolumes.Enabled))
	checks.Add(corev1.Resource("pods"), c.checkPods)
	checks.Add(appsv1.Resource("statefulsets"), c.checkStatefulSets)
}

// claimCheck evaluates which volumes of the host claims may have.
type claimCheck struct {
	rules *policy.Claims
	host  HostView
}

// checkClaimQuantities evaluates the sizes of a claim that is created or expanded.
func checkClaimQuantities(_ context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	claim, old, err := writtenObject[corev1.PersistentVolumeClaim](a, o)
	if err != nil || claim == nil || old != nil && apiequality.Semantic.DeepEqual(old.Spec.Resources, claim.Spec.Resources) {
		return Decision{}, err
	}
	return Decision{Violations: policy.Quantities("spec.resources", &claim.Spec.Resources)}, nil
}

// checkClaims evaluates claims.
func (c claimCheck) checkClaims(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	claim, old, err := writtenObject[corev1.PersistentVolumeClaim](a, o)
	if err != nil || claim == nil {
		return Decision{}, err
	}
	if old == nil {
		return c.check(ctx, a, policy.Claim{Namespace: a.GetNamespace(), Annotations: claim.Annotations, Spec: &claim.Spec})
	}
	var decision Decision
	if changesClass(old, claim) {
		named := &corev1.PersistentVolumeClaimSpec{StorageClassName: claim.Spec.StorageClassName, Selector: claim.Spec.Selector}
		decision, err = c.check(ctx, a, policy.Claim{Namespace: a.GetNamespace(), Annotations: claim.Annotations, Spec: named})
	}
	decision.Violations = append(decision.Violations, c.rules.CheckUpdate(old, claim)...)
	return decision, err
}

// changesClass reports whether a claim names another storage class, or none any more. An update of its status may
// change the annotation with the class. Without a class, a new host claim gets the default class of the host.
func changesClass(old, claim *corev1.PersistentVolumeClaim) bool {
	before, wasNamed := translate.ClaimClass(old.Annotations, &old.Spec)
	after, isNamed := translate.ClaimClass(claim.Annotations, &claim.Spec)
	return before != after || wasNamed != isNamed
}

// check evaluates new claims.
func (c claimCheck) check(ctx context.Context, a admission.Attributes, claims ...policy.Claim) (Decision, error) {
	var decision Decision
	if len(claims) == 0 {
		return decision, nil
	}
	var classes []storagev1.StorageClass
	if c.rules.ShowsClasses() {
		var err error
		if classes, err = c.host.StorageClasses(ctx); err != nil {
			return decision, unknownHost(a, err)
		}
	}
	for _, claim := range claims {
		decision.Violations = append(decision.Violations, c.rules.Check(claim, classes)...)
	}
	return decision, nil
}

// checkPods evaluates the claims that a pod brings. Its volumes never change.
func (c claimCheck) checkPods(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	if a.GetOperation() != admission.Create || a.GetSubresource() != "" {
		return Decision{}, nil
	}
	pod, err := toV1[corev1.Pod](a.GetObject(), o)
	if err != nil {
		return Decision{}, err
	}
	var claims []policy.Claim
	for i, volume := range pod.Spec.Volumes {
		if volume.Ephemeral == nil || volume.Ephemeral.VolumeClaimTemplate == nil {
			continue
		}
		template := volume.Ephemeral.VolumeClaimTemplate
		claims = append(claims, policy.Claim{
			Path:      fmt.Sprintf("spec.volumes[%d].ephemeral.volumeClaimTemplate.", i),
			Namespace: a.GetNamespace(), Annotations: template.Annotations, Spec: &template.Spec, IsTemplate: true,
		})
	}
	return c.check(ctx, a, claims...)
}

// checkStatefulSets warns about claims that will be denied.
func (c claimCheck) checkStatefulSets(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	set, _, err := writtenObject[appsv1.StatefulSet](a, o)
	if err != nil || set == nil {
		return Decision{}, err
	}
	var claims []policy.Claim
	for i := range set.Spec.VolumeClaimTemplates {
		template := &set.Spec.VolumeClaimTemplates[i]
		claims = append(claims, policy.Claim{
			Path:      fmt.Sprintf("spec.volumeClaimTemplates[%d].", i),
			Namespace: a.GetNamespace(), Annotations: template.Annotations, Spec: &template.Spec, IsTemplate: true,
		})
	}
	decision, err := c.check(ctx, a, claims...)
	if err != nil || len(decision.Violations) == 0 {
		return Decision{}, err
	}
	return Decision{Warnings: []string{"claims of this template will be denied: " + policy.Message(decision.Violations)}}, nil
}

// volumePolicySetting is the path of the setting that lets a tenant change reclaim policies.
const volumePolicySetting = "sync.toHost.persistentVolumes.enabled"

// checkVolumes returns the check that denies what a tenant does to volumes. Each is the copy
// of a host volume that a claim of the tenant has.
func checkVolumes(changesPolicy bool) PolicyCheck {
	return func(_ context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
		if a.GetOperation() == admission.Create {
			return Decision{Violations: []policy.Violation{{
				Field: "metadata.name", Value: nameOf(a),
				Detail: "volumes are the host's: one that is made here serves no pod. Create a claim, and the host makes its volume. " +
					"The operator of the host can make one by hand, for claims of a class in policies.volumes.staticClasses",
			}}}, nil
		}
		old, err := toV1[corev1.PersistentVolume](a.GetOldObject(), o)
		if err != nil || old.Annotations[labels.HostUID] == "" {
			return Decision{}, err
		}
		if a.GetOperation() == admission.Delete {
			return Decision{Violations: []policy.Violation{{
				Field: "metadata.name", Value: old.Name, Detail: "this volume is the host's; it goes with its claim",
			}}}, nil
		}
		volume, err := toV1[corev1.PersistentVolume](a.GetObject(), o)
		if err != nil {
			return Decision{}, err
		}
		return Decision{Violations: volumeChanges(old, volume, changesPolicy)}, nil
	}
}

// volumeChanges returns the fields of a volume that the host owns and that changed.
func volumeChanges(old, volume *corev1.PersistentVolume, changesPolicy bool) []policy.Violation {
	const detail = "this volume is the host's, which decides what becomes of its data; only labels and annotations can be changed here"
	before, after := old.Spec.DeepCopy(), volume.Spec.DeepCopy()
	wanted := after.PersistentVolumeReclaimPolicy
	before.PersistentVolumeReclaimPolicy = wanted
	switch {
	case !apiequality.Semantic.DeepEqual(before, after):
		return []policy.Violation{{Field: "spec", Detail: detail}}
	case !apiequality.Semantic.DeepEqual(old.Status, volume.Status):
		return []policy.Violation{{Field: "status", Detail: detail}}
	case old.Annotations[labels.HostUID] != volume.Annotations[labels.HostUID]:
		return []policy.Violation{{Field: "metadata.annotations[" + labels.HostUID + "]", Detail: "only the syncer writes it"}}
	case old.Spec.PersistentVolumeReclaimPolicy == wanted:
		return nil
	case !changesPolicy:
		return []policy.Violation{{
			Field: "spec.persistentVolumeReclaimPolicy", Value: string(wanted), Detail: detail, Setting: volumePolicySetting,
		}}
	case wanted == corev1.PersistentVolumeReclaimRecycle:
		return []policy.Violation{{Field: "spec.persistentVolumeReclaimPolicy", Value: string(wanted), Detail: "allowed: Delete and Retain"}}
	}
	return nil
}

// checkStorageClasses denies changes of classes that the host owns.
func checkStorageClasses(_ context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	if a.GetOperation() == admission.Create {
		return Decision{Warnings: []string{
			"storage classes are the host's: a claim cannot use one that is made here",
		}}, nil
	}
	old, err := toV1[storagev1.StorageClass](a.GetOldObject(), o)
	if err != nil || old.Annotations[labels.HostUID] == "" {
		return Decision{}, err
	}
	return Decision{Violations: []policy.Violation{{
		Field: "metadata.name", Value: old.Name, Detail: "this storage class is the host's and cannot be changed here",
	}}}, nil
}
