package policy

import (
	"math"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mostQuantity is the largest quantity that may reach the host. Kubernetes takes 1e2000000000 too, but computes for
// hours with it, in the API server of the host and in its controllers.
const mostQuantity = 1e30

// Quantities returns the quantities in a field that are too large for the host. value is a struct, or a pointer to
// one, with the field at path.
func Quantities(path string, value any) []Violation {
	return tooLargeQuantities(path, reflect.ValueOf(value))
}

// podQuantities denies quantities that are too large for the host.
func podQuantities(_ *metav1.ObjectMeta, spec *corev1.PodSpec) []Violation {
	return Quantities("spec", spec)
}

// tooLargeQuantities returns the quantities that are too large, in a value and in all that it has.
func tooLargeQuantities(path string, value reflect.Value) []Violation {
	switch value.Kind() {
	case reflect.Pointer:
		if !value.IsNil() {
			return tooLargeQuantities(path, value.Elem())
		}
	case reflect.Slice:
		return tooLargeItems(path, value)
	case reflect.Map:
		if value.Type().Elem() != reflect.TypeFor[resource.Quantity]() {
			return nil
		}
		var violations []Violation
		for entries := value.MapRange(); entries.Next(); {
			violations = append(violations, tooLargeQuantities(path+"["+entries.Key().String()+"]", entries.Value())...)
		}
		return violations
	case reflect.Struct:
		return tooLargeFields(path, value)
	default:
	}
	return nil
}

// tooLargeItems returns what [tooLargeQuantities] returns, of a list.
func tooLargeItems(path string, list reflect.Value) []Violation {
	switch list.Type().Elem().Kind() {
	case reflect.Struct, reflect.Pointer:
	default:
		return nil
	}
	var violations []Violation
	for i := range list.Len() {
		violations = append(violations, tooLargeQuantities(at(path, i), list.Index(i))...)
	}
	return violations
}

// tooLargeFields returns what [tooLargeQuantities] returns, of a struct, which may be a quantity.
func tooLargeFields(path string, value reflect.Value) []Violation {
	if quantity, ok := reflect.TypeAssert[resource.Quantity](value); ok {
		return tooLarge(path, quantity)
	}
	var violations []Violation
	for i := range value.NumField() {
		field := value.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case !field.IsExported():
		case name == "":
			violations = append(violations, tooLargeQuantities(path, value.Field(i))...)
		default:
			violations = append(violations, tooLargeQuantities(path+"."+name, value.Field(i))...)
		}
	}
	return violations
}

// tooLarge returns the violation of one quantity. It compares no quantities: that would take as long.
func tooLarge(path string, quantity resource.Quantity) []Violation {
	if math.Abs(quantity.AsApproximateFloat64()) <= mostQuantity {
		return nil
	}
	return []Violation{{Field: path, Value: quantity.String(), Detail: "no host computes with such a number; must be at most 1e30"}}
}
