package translate

import (
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestEveryProjectedSourceIsDecided checks that a source of a new Kubernetes does not reach
// the host before somebody decides what it means there.
func TestEveryProjectedSourceIsDecided(t *testing.T) {
	t.Parallel()
	rewritten := []string{"Secret", "ConfigMap", "DownwardAPI", "ServiceAccountToken", "ClusterTrustBundle", "PodCertificate"}
	source := reflect.TypeFor[corev1.VolumeProjection]()
	for i := range source.NumField() {
		name := source.Field(i).Name
		var projection corev1.VolumeProjection
		reflect.ValueOf(&projection).Elem().Field(i).Set(reflect.New(source.Field(i).Type.Elem()))
		spec := &corev1.PodSpec{Volumes: []corev1.Volume{{Name: "a", VolumeSource: corev1.VolumeSource{
			Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{projection}},
		}}}}
		err := checkSupported(spec, false)
		switch {
		case !slices.Contains(rewritten, name):
			t.Errorf("the projected source %s is new: rewrite it for the host, or refuse it", name)
		case err != nil:
			t.Errorf("%s: %v", name, err)
		}
	}
}
