package policy_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// newStandard returns the rules of a Pod Security Standard.
func newStandard(standard string) *policy.Pods {
	settings := v1alpha1.Default().Policies
	settings.PodSecurityStandard = standard
	return policy.NewPods(settings, policy.PodOptions{})
}

// TestManyContainersAndAnnotations checks 50,000 containers of a pod with a million annotations. If each container looked
// at each annotation, that would take many minutes.
func TestManyContainersAndAnnotations(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{}}}
	for i := range 1_000_000 {
		pod.Annotations[strconv.Itoa(i)] = ""
	}
	unconfined := &corev1.SecurityContext{AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}}
	var want []string
	for i := range 50_000 {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: strconv.Itoa(i), SecurityContext: unconfined})
		want = append(want, fmt.Sprintf("spec.containers[%d].securityContext.appArmorProfile", i))
	}
	violations := slices.DeleteFunc(newStandard("baseline").Evaluate(&pod.ObjectMeta, &pod.Spec), func(v policy.Violation) bool {
		return v.Setting != "policies.podSecurityStandard"
	})
	if got := fieldsOf(violations); !slices.Equal(got, want) {
		t.Errorf("%d containers are denied, want each of %d", len(got), len(want))
	}
}
