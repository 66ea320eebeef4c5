package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Settings of volumes.
const (
	volumeTypesSetting = "policies.pods.volumeTypes"
	csiDriversSetting  = "policies.pods.csiDrivers"
)

// volumeTypes returns the rule about the types of volumes. A type that this version of
// Kubernetes does not know yet is not on the list either, so it is refused.
func volumeTypes(types, drivers []string) podRule {
	return func(_ *metav1.ObjectMeta, spec *corev1.PodSpec) []Violation {
		var violations []Violation
		for i := range spec.Volumes {
			volume := &spec.Volumes[i]
			path := at("spec.volumes", i)
			if volume.CSI != nil {
				violations = append(violations, checkDriver(path, volume.CSI.Driver, drivers)...)
				continue
			}
			if name := volumeType(volume); name != "" && !slices.Contains(types, name) {
				violations = append(violations, Violation{
					Field: path + "." + name, Value: volume.Name,
					Detail:  fmt.Sprintf("volumes of the type %s are not allowed; allowed: %s", name, orNone(types)),
					Setting: volumeTypesSetting,
				})
			}
		}
		return violations
	}
}

// checkDriver returns what is wrong with the driver of an inline CSI volume.
func checkDriver(path, driver string, allowed []string) []Violation {
	if slices.Contains(allowed, driver) {
		return nil
	}
	return []Violation{{
		Field: path + ".csi.driver", Value: driver,
		Detail:  "inline volumes of this CSI driver are not allowed; allowed: " + orNone(allowed),
		Setting: csiDriversSetting,
	}}
}

// volumeType returns the field of a volume that is set, empty for none.
func volumeType(volume *corev1.Volume) string {
	source := reflect.ValueOf(volume.VolumeSource)
	for i := range source.NumField() {
		if !source.Field(i).IsNil() {
			name, _, _ := strings.Cut(source.Type().Field(i).Tag.Get("json"), ",")
			return name
		}
	}
	return ""
}
