package policy

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/utils/ptr"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/translate"
)

const (
	// volumesSetting is the path of the settings of volumes.
	volumesSetting = "policies.volumes."
	// classesSetting is the path of the settings of storage classes.
	classesSetting = "sync.fromHost.storageClasses."
	// noProvisioner is the provisioner of a class whose volumes are made by hand.
	noProvisioner = "kubernetes.io/no-provisioner"
)

// Claims decides which volumes of the host a claim may have.
type Claims struct {
	settings v1alpha1.VolumePolicy
	// showsClasses reports whether the virtual cluster has the host's storage classes.
	showsClasses bool
	// hasSnapshots reports whether the tenant's snapshots are on the host.
	hasSnapshots bool
}

// NewClaims returns the rule for these settings.
func NewClaims(settings *v1alpha1.Config) *Claims {
	return &Claims{
		settings:     settings.Policies.Volumes,
		showsClasses: settings.Sync.IsEnabled("sync.fromHost.storageClasses"),
		hasSnapshots: settings.Sync.IsEnabled(SnapshotsSetting),
	}
}

// ShowsClasses reports whether the rule needs the storage classes of the host.
func (c *Claims) ShowsClasses() bool { return c.showsClasses }

// Claim is what a tenant asks for: a claim, or the template of one.
type Claim struct {
	// Path is the path of the claim in its object, empty for the claim itself.
	Path string
	// Namespace is the namespace of the claim.
	Namespace string
	// Annotations are those of the claim. One of them is an older form of the class.
	Annotations map[string]string
	// Spec is what is asked for.
	Spec *corev1.PersistentVolumeClaimSpec
	// IsTemplate is set for a template, which has no default class yet.
	IsTemplate bool
}

// Check returns the fields of a new claim that are not allowed. classes are the host's
// storage classes that the tenant may use.
func (c *Claims) Check(claim Claim, classes []storagev1.StorageClass) []Violation {
	return slices.Concat(c.checkClass(claim, classes), c.checkVolume(claim), c.checkSource(claim), c.checkAttributes(claim, nil))
}

// CheckUpdate returns the fields of a changed claim that are not allowed.
func (c *Claims) CheckUpdate(old, claim *corev1.PersistentVolumeClaim) []Violation {
	violations := c.checkAttributes(Claim{Spec: &claim.Spec}, old.Spec.VolumeAttributesClassName)
	if claim.Spec.VolumeName != old.Spec.VolumeName {
		violations = append(violations, c.checkVolume(Claim{Spec: &corev1.PersistentVolumeClaimSpec{VolumeName: claim.Spec.VolumeName}})...)
	}
	return violations
}

// checkClass checks the storage class, and the selector that depends on it.
func (c *Claims) checkClass(claim Claim, classes []storagev1.StorageClass) []Violation {
	field := claim.Path + "spec.storageClassName"
	name, named := translate.ClaimClass(claim.Annotations, claim.Spec)
	if !named {
		if claim.IsTemplate && slices.ContainsFunc(classes, isDefaultClass) {
			return c.checkSelector(claim)
		}
		return []Violation{{
			Field: field, Setting: c.classSetting(),
			Detail: "must be set, as no storage class of this virtual cluster is the default; there are: " + c.names(classes),
		}}
	}
	if name == "" {
		return []Violation{{
			Field: field, Detail: `the empty class binds volumes that somebody has made by hand for others; there are: ` + c.names(classes),
			Setting: volumesSetting + "staticClasses",
		}}
	}
	if slices.Contains(c.settings.StaticClasses, name) {
		return nil
	}
	found := slices.IndexFunc(classes, func(class storagev1.StorageClass) bool { return class.Name == name })
	if found < 0 {
		return []Violation{{
			Field: field, Value: name, Setting: c.classSetting(),
			Detail: "this virtual cluster has no such storage class of the host; there are: " + c.names(classes),
		}}
	}
	if classes[found].Provisioner == noProvisioner {
		return []Violation{{
			Field: field, Value: name, Setting: volumesSetting + "staticClasses",
			Detail: "volumes of this class are made by hand, and may be for others",
		}}
	}
	return c.checkSelector(claim)
}

// checkSelector checks that a claim gets a new volume.
func (c *Claims) checkSelector(claim Claim) []Violation {
	if claim.Spec.Selector == nil {
		return nil
	}
	return []Violation{{
		Field: claim.Path + "spec.selector", Setting: volumesSetting + "staticClasses",
		Detail: "volumes of others cannot be selected; leave it out to get a new volume",
	}}
}

// classSetting returns the setting that decides which storage classes there are.
func (c *Claims) classSetting() string {
	if c.showsClasses {
		return classesSetting + "selector"
	}
	return classesSetting + "enabled"
}

// names returns the names of the classes that a claim may have.
func (c *Claims) names(classes []storagev1.StorageClass) string {
	names := slices.Clone(c.settings.StaticClasses)
	for i := range classes {
		if classes[i].Provisioner != noProvisioner {
			names = append(names, classes[i].Name)
		}
	}
	slices.Sort(names)
	return list(slices.Compact(names))
}

// isDefaultClass reports whether claims without a class get this one.
func isDefaultClass(class storagev1.StorageClass) bool {
	return class.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" ||
		class.Annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true"
}

// checkVolume checks that the host picks the volume.
func (c *Claims) checkVolume(claim Claim) []Violation {
	if claim.Spec.VolumeName == "" {
		return nil
	}
	return []Violation{{
		Field: claim.Path + "spec.volumeName", Value: claim.Spec.VolumeName,
		Detail: "the host picks the volume, and makes a new one; leave it out",
	}}
}

// checkSource checks that the host can find what a volume is filled from.
func (c *Claims) checkSource(claim Claim) []Violation {
	field, source := claim.Path+"spec.dataSourceRef", claim.Spec.DataSourceRef
	if source == nil {
		if claim.Spec.DataSource == nil {
			return nil
		}
		field = claim.Path + "spec.dataSource"
		source = &corev1.TypedObjectReference{
			APIGroup: claim.Spec.DataSource.APIGroup, Kind: claim.Spec.DataSource.Kind, Name: claim.Spec.DataSource.Name,
		}
	}
	if violations := c.checkSourceKind(field, source); len(violations) > 0 {
		return violations
	}
	if source.Namespace != nil && *source.Namespace != claim.Namespace {
		return []Violation{{
			Field: field + ".namespace", Value: *source.Namespace,
			Detail: "a volume can only be filled from an object of the same namespace",
		}}
	}
	return nil
}

// checkSourceKind checks that the host has objects of the kind that a volume is filled from.
func (c *Claims) checkSourceKind(field string, source *corev1.TypedObjectReference) []Violation {
	var group string
	if source.APIGroup != nil {
		group = *source.APIGroup
	}
	violation := Violation{
		Field: field, Value: source.Kind + "/" + source.Name,
		Detail: "objects of this kind are not synced to the host; a volume can only be filled from a claim of the same namespace",
	}
	switch {
	case group == "" && source.Kind == "PersistentVolumeClaim":
		return nil
	case group == SnapshotGroup && source.Kind == "VolumeSnapshot":
		if c.hasSnapshots {
			return nil
		}
		violation.Setting = SnapshotsSetting + ".enabled"
	}
	return []Violation{violation}
}

// checkAttributes checks the class of a volume's attributes, which is an object of the
// host. stored is the value that the claim has already.
func (c *Claims) checkAttributes(claim Claim, stored *string) []Violation {
	class := claim.Spec.VolumeAttributesClassName
	if class == nil || *class == "" || ptr.Equal(class, stored) || slices.Contains(c.settings.AttributesClasses, *class) {
		return nil
	}
	return []Violation{{
		Field: claim.Path + "spec.volumeAttributesClassName", Value: *class, Setting: volumesSetting + "attributesClasses",
		Detail: "allowed: " + list(c.settings.AttributesClasses),
	}}
}
