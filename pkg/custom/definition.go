package custom

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// Definition is the copy of a definition of the host, and how objects of the kind are synced.
type Definition struct {
	// Copy is the definition to have in the virtual cluster.
	Copy *apiextensionsv1.CustomResourceDefinition
	// Version is the one in which both sides are read and written.
	Version string
}

// Wanted is what the settings ask for.
type Wanted struct {
	// Version is the version to sync. Empty means the storage version if it is served, or else
	// the first one that is.
	Version string
	// Scope is the scope that the kind must have.
	Scope apiextensionsv1.ResourceScope
	// OfTenant specifies that the objects are the tenant's, and only the virtual cluster has them.
	OfTenant bool
}

// NewDefinition returns the copy of a definition of the host. virtual is the copy as it is
// now, nil if there is none. It fails if the kind cannot be synced, with the reason.
func NewDefinition(host, virtual *apiextensionsv1.CustomResourceDefinition, wanted Wanted) (Definition, error) {
	if host.Spec.Scope != wanted.Scope {
		return Definition{}, fmt.Errorf("its scope on the host is %s, not %s", host.Spec.Scope, wanted.Scope)
	}
	if host.Spec.PreserveUnknownFields {
		return Definition{}, errors.New("it preserves unknown fields on the host, so that it has no schema")
	}
	stored := storedVersion(host, virtual, wanted)
	version, err := ChooseVersion(host, cmp.Or(wanted.Version, stored))
	if err != nil && stored != "" {
		err = fmt.Errorf("the tenant's objects are stored in %s, and %w; name one version in the key", stored, err)
	}
	if err != nil {
		return Definition{}, err
	}
	copied := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{
		Name:        host.Name,
		Annotations: map[string]string{labels.HostUID: string(host.UID)},
	}}
	if approved, ok := host.Annotations[apiextensionsv1.KubeAPIApprovedAnnotation]; ok {
		copied.Annotations[apiextensionsv1.KubeAPIApprovedAnnotation] = approved
	}
	host.Spec.DeepCopyInto(&copied.Spec)
	if converts(host) {
		copied.Spec.Versions = slices.DeleteFunc(copied.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
			return v.Name != version
		})
		copied.Spec.Versions[0].Storage = true
	}
	copied.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter}
	KeepStoredVersions(copied, virtual)
	if !wanted.OfTenant {
		for i := range copied.Spec.Versions {
			version := &copied.Spec.Versions[i]
			dropRules(SchemaOf(copied, version.Name))
			// A Scale does not have the mark of a copy, so that admission could not deny its changes.
			if version.Subresources != nil {
				version.Subresources.Scale = nil
			}
		}
	}
	return Definition{Copy: copied, Version: version}, nil
}

// HasSameNames reports whether an API server lets one definition become the other. It never
// changes the kind and the scope of an established one.
func HasSameNames(before, after *apiextensionsv1.CustomResourceDefinition) bool {
	return before.Spec.Names.Kind == after.Spec.Names.Kind && before.Spec.Scope == after.Spec.Scope
}

// storedVersion returns the version that objects of the tenant stay in, empty for any. The
// webhook that could convert them is the host's, and what another version lacks would be lost.
func storedVersion(host, virtual *apiextensionsv1.CustomResourceDefinition, wanted Wanted) string {
	if virtual == nil || !wanted.OfTenant || wanted.Version != "" || !converts(host) {
		return ""
	}
	return StorageVersion(virtual)
}

// StorageVersion returns the version in which new objects are stored, empty if there is none.
func StorageVersion(definition *apiextensionsv1.CustomResourceDefinition) string {
	for _, v := range definition.Spec.Versions {
		if v.Storage {
			return v.Name
		}
	}
	return ""
}

// dropRules removes the rules in CEL of a schema. The host has applied them to its objects. Some
// of those are older than a rule, and a copy may miss a change that a rule asks for.
func dropRules(schema *apiextensionsv1.JSONSchemaProps) {
	if schema == nil {
		return
	}
	schema.XValidations = nil
	for key, property := range schema.Properties {
		dropRules(&property)
		schema.Properties[key] = property
	}
	if schema.Items != nil {
		dropRules(schema.Items.Schema)
	}
	if schema.AdditionalProperties != nil {
		dropRules(schema.AdditionalProperties.Schema)
	}
}

// ChooseVersion returns the version in which the kind is synced.
func ChooseVersion(host *apiextensionsv1.CustomResourceDefinition, wanted string) (string, error) {
	storage, served := "", ""
	for _, v := range host.Spec.Versions {
		switch {
		case !v.Served:
		case v.Name == wanted:
			return wanted, nil
		case v.Storage:
			storage = v.Name
		case served == "":
			served = v.Name
		}
	}
	switch {
	case wanted != "":
		return "", fmt.Errorf("the host does not serve the version %s", wanted)
	case storage != "":
		return storage, nil
	case served == "":
		return "", errors.New("the host serves no version of it")
	case converts(host):
		return "", errors.New("the host does not serve its storage version, and other versions need a webhook of the host; name one version in the key")
	}
	return served, nil
}

// converts reports whether versions differ in more than their name.
func converts(host *apiextensionsv1.CustomResourceDefinition) bool {
	return host.Spec.Conversion != nil && host.Spec.Conversion.Strategy != apiextensionsv1.NoneConverter
}

// IsCopy reports whether a definition of the virtual cluster is the copy of one of the host.
func IsCopy(virtual *apiextensionsv1.CustomResourceDefinition) bool {
	return virtual.Annotations[labels.HostUID] != ""
}

// IsServed reports whether the API server of a definition serves its objects.
func IsServed(definition *apiextensionsv1.CustomResourceDefinition) bool {
	return slices.ContainsFunc(definition.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
}

// HasStatus reports whether the status of objects in a version has an address of its own.
func HasStatus(definition *apiextensionsv1.CustomResourceDefinition, version string) bool {
	return slices.ContainsFunc(definition.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return v.Name == version && v.Subresources != nil && v.Subresources.Status != nil
	})
}

// SchemaOf returns the schema of a version of a definition, nil if it has none.
func SchemaOf(definition *apiextensionsv1.CustomResourceDefinition, version string) *apiextensionsv1.JSONSchemaProps {
	for _, v := range definition.Spec.Versions {
		if v.Name == version && v.Schema != nil {
			return v.Schema.OpenAPIV3Schema
		}
	}
	return nil
}
