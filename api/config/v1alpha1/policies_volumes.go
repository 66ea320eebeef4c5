package v1alpha1

// VolumePolicy limits which volumes of the host the tenant's claims may have.
type VolumePolicy struct {
	// Storage classes whose volumes the operator makes by hand, one class per tenant. Claims may name them
	// and select their volumes by label. Claims of all other classes get a new volume.
	// Default: []
	StaticClasses []string `json:"staticClasses" format:"object-name" unique:"true"`
	// Values of volumeAttributesClassName of claims. These classes are the host's, and are not shown.
	// Default: []
	AttributesClasses []string `json:"attributesClasses" format:"object-name" unique:"true"`
}

// defaultVolumePolicy returns the limits of claims.
func defaultVolumePolicy() VolumePolicy {
	return VolumePolicy{StaticClasses: []string{}, AttributesClasses: []string{}}
}
