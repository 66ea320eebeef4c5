package admission

import (
	"maps"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apiserver/pkg/admission"
)

// writtenObject returns the object that a request creates or updates, and its stored state. An update of a
// status counts if it changes labels or annotations, which some kinds allow. object is nil for other requests, and
// old for a create.
func writtenObject[T any, P object[T]](a admission.Attributes, o admission.ObjectInterfaces) (object, old P, err error) {
	if !isWrite(a) {
		return nil, nil, nil
	}
	if object, err = toV1[T, P](a.GetObject(), o); err != nil || a.GetOperation() == admission.Create {
		return object, nil, err
	}
	old, err = toV1[T, P](a.GetOldObject(), o)
	return object, old, err
}

// isWrite reports whether a request creates an object, or updates what the checks evaluate of it.
func isWrite(a admission.Attributes) bool {
	switch a.GetOperation() {
	case admission.Create:
		return a.GetSubresource() == ""
	case admission.Update:
		return a.GetSubresource() == "" || changesMetadataOfStatus(a)
	case admission.Delete, admission.Connect:
	}
	return false
}

// changesMetadataOfStatus reports whether an update of a status may change labels or annotations.
func changesMetadataOfStatus(a admission.Attributes) bool {
	return a.GetSubresource() == "status" && a.GetOperation() == admission.Update && changesMetadata(a)
}

// changesMetadata reports whether an update may change labels or annotations.
func changesMetadata(a admission.Attributes) bool {
	object, err := meta.Accessor(a.GetObject())
	if err != nil {
		return true
	}
	old, err := meta.Accessor(a.GetOldObject())
	return err != nil || !maps.Equal(object.GetLabels(), old.GetLabels()) || !maps.Equal(object.GetAnnotations(), old.GetAnnotations())
}
