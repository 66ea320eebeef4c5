package policy_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
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

// TestDebugContainersOfDeniedPods checks that a violation of a pod that runs does not hide that of a new debug container.
func TestDebugContainersOfDeniedPods(t *testing.T) {
	t.Parallel()
	const role, profile = "spec.securityContext.seLinuxOptions", "spec.securityContext.appArmorProfile"
	unconfined := &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	annotated := metav1.ObjectMeta{UID: "u", Annotations: map[string]string{corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + "a": "unconfined"}}
	for _, c := range []struct {
		reason   string
		standard string
		metadata metav1.ObjectMeta
		pod      *corev1.PodSecurityContext
		debug    *corev1.SecurityContext
		field    string // of the pod, which runs
		added    string // field of the debug container, empty if it is allowed
	}{
		{
			"a type in addition to the role of the pod", "baseline", metav1.ObjectMeta{UID: "u"},
			&corev1.PodSecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Role: "r"}},
			&corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Type: "spc_t"}}, role, "seLinuxOptions",
		},
		{
			"the same role", "baseline", metav1.ObjectMeta{UID: "u"},
			&corev1.PodSecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Role: "r"}},
			&corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Role: "r"}}, role, "seLinuxOptions",
		},
		{
			"an allowed type", "baseline", metav1.ObjectMeta{UID: "u"},
			&corev1.PodSecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Role: "r"}},
			&corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Type: "container_t"}}, role, "",
		},
		{
			"no security context", "baseline", metav1.ObjectMeta{UID: "u"},
			&corev1.PodSecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Role: "r"}}, nil, role, "",
		},
		{
			"a profile in addition to an annotation", "baseline", annotated, nil,
			&corev1.SecurityContext{AppArmorProfile: unconfined}, profile, "appArmorProfile",
		},
		{
			"nothing in addition to an annotation", "baseline", annotated, nil,
			&corev1.SecurityContext{RunAsUser: new(int64(1))}, profile, "",
		},
		{
			"root in a pod that may be root", "restricted", metav1.ObjectMeta{UID: "u"},
			&corev1.PodSecurityContext{RunAsNonRoot: new(false), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
			&corev1.SecurityContext{
				RunAsUser: new(int64(0)), AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			}, "spec.securityContext.runAsNonRoot", "runAsUser",
		},
	} {
		rules := newStandard(c.standard)
		before := &corev1.Pod{ObjectMeta: c.metadata, Spec: corev1.PodSpec{SecurityContext: c.pod}}
		after := before.DeepCopy()
		after.Spec.EphemeralContainers = []corev1.EphemeralContainer{
			{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", SecurityContext: c.debug}},
		}
		if got := fieldsOf(rules.Evaluate(&before.ObjectMeta, &before.Spec)); !slices.Equal(got, []string{c.field}) {
			t.Errorf("%s: the pod is denied for %v, want %s", c.reason, got, c.field)
		}
		var want []string
		if c.added != "" {
			want = []string{"spec.ephemeralContainers[0].securityContext." + c.added}
		}
		for how, violations := range map[string][]policy.Violation{
			"EvaluateUpdate": rules.EvaluateUpdate(before, after), "EvaluateCopy": rules.EvaluateCopy(after, before),
		} {
			if diff := cmp.Diff(want, fieldsOf(violations)); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", c.reason, how, diff)
			}
		}
	}
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
