package admission

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
)

// object is a pointer to an API type that can be copied.
type object[T any] interface {
	*T
	runtime.Object
	DeepCopy() *T
	DeepCopyInto(out *T)
}

// toV1 converts an internal object of the API server to its v1 type. The result is a deep copy, because
// the two forms may share memory, and the old object of an update belongs to a cache. A nil object
// becomes an empty one.
func toV1[T any, P object[T]](from runtime.Object, o admission.ObjectInterfaces) (P, error) {
	if typed, ok := from.(P); ok {
		return typed.DeepCopy(), nil
	}
	into := P(new(T))
	if from == nil {
		return into, nil
	}
	if err := o.GetObjectConvertor().Convert(from, into, nil); err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("cannot decode the %T of an admission request: %w", into, err))
	}
	return into.DeepCopy(), nil
}

// fromV1 converts a v1 object into the internal object of the API server.
func fromV1[T any, P object[T]](from P, into runtime.Object, o admission.ObjectInterfaces) error {
	if typed, ok := into.(P); ok {
		from.DeepCopyInto(typed)
		return nil
	}
	if err := o.GetObjectConvertor().Convert(from, into, nil); err != nil {
		return apierrors.NewInternalError(fmt.Errorf("cannot encode the %T of an admission request: %w", from, err))
	}
	return nil
}

// deny returns the error for a request that Sublet denies.
func deny(a admission.Attributes, format string, args ...any) error {
	return apierrors.NewForbidden(a.GetResource().GroupResource(), a.GetName(), fmt.Errorf(format, args...))
}
