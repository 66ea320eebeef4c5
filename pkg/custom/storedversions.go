package custom

import (
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// KeepStoredVersions adds versions that objects of the virtual cluster may be stored in and
// that the host no longer has. They are not served. An API server refuses to lose them.
func KeepStoredVersions(copied, virtual *apiextensionsv1.CustomResourceDefinition) {
	if virtual == nil {
		return
	}
	for _, stored := range virtual.Status.StoredVersions {
		isStored := func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == stored }
		before := slices.IndexFunc(virtual.Spec.Versions, isStored)
		if before < 0 || slices.ContainsFunc(copied.Spec.Versions, isStored) {
			continue
		}
		kept := *virtual.Spec.Versions[before].DeepCopy()
		kept.Served, kept.Storage = false, false
		copied.Spec.Versions = append(copied.Spec.Versions, kept)
	}
}
