package translate

import corev1 "k8s.io/api/core/v1"

// ClaimClass returns the storage class that a claim names. named is false if it names none and
// gets the default class. The beta annotation takes precedence, as in Kubernetes.
func ClaimClass(annotations map[string]string, spec *corev1.PersistentVolumeClaimSpec) (class string, named bool) {
	if class, found := annotations[corev1.BetaStorageClassAnnotation]; found {
		return class, true
	}
	if spec.StorageClassName == nil {
		return "", false
	}
	return *spec.StorageClassName, true
}

// ClaimSources returns the names of the objects that a claim is filled from.
func ClaimSources(spec *corev1.PersistentVolumeClaimSpec) []string {
	var names []string
	if source := spec.DataSource; source != nil {
		names = append(names, source.Name)
	}
	if source := spec.DataSourceRef; source != nil && (spec.DataSource == nil || spec.DataSource.Name != source.Name) {
		names = append(names, source.Name)
	}
	return names
}
