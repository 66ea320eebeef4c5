package v1alpha1_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// TestVolumeTypes checks that volumeTypes can name every type of volume of this
// Kubernetes. csi has a list of drivers of its own, and some types no kubelet mounts.
func TestVolumeTypes(t *testing.T) {
	t.Parallel()
	left := []string{"csi", "flocker", "gitRepo", "glusterfs", "photonPersistentDisk", "portworxVolume", "quobyte", "scaleIO", "storageos"}
	var want []string
	for source := range reflect.TypeFor[corev1.VolumeSource]().Fields() {
		if name, _, _ := strings.Cut(source.Tag.Get("json"), ","); !slices.Contains(left, name) {
			want = append(want, name)
		}
	}
	slices.Sort(want)
	field, _ := reflect.TypeFor[v1alpha1.PodPolicy]().FieldByName("VolumeTypes")
	if diff := cmp.Diff(want, v1alpha1.RuleOf(field).Enum); diff != "" {
		t.Errorf("the types of volumes (-want +got):\n%s", diff)
	}
}
