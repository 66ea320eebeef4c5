package admission

import "k8s.io/apiserver/pkg/admission"

// writtenObject returns the object that a request creates or updates, and its stored state.
// object is nil for other requests and for those to a subresource, old for a create.
func writtenObject[T any, P object[T]](a admission.Attributes, o admission.ObjectInterfaces) (object, old P, err error) {
	if a.GetSubresource() != "" || a.GetOperation() != admission.Create && a.GetOperation() != admission.Update {
		return nil, nil, nil
	}
	if object, err = toV1[T, P](a.GetObject(), o); err != nil || a.GetOperation() == admission.Create {
		return object, nil, err
	}
	old, err = toV1[T, P](a.GetOldObject(), o)
	return object, old, err
}
