package attacks

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// deniedReplicas lets the StatefulSet controller build more pods than the control plane has memory
// for. The numbers are small enough for a server without the check.
func deniedReplicas(t *testing.T, s *site) {
	labels := map[string]string{"app": "many"}
	newSet := func(name string, replicas int32) *appsv1.StatefulSet {
		return &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: name},
			Spec: appsv1.StatefulSetSpec{
				Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: newPod("", nil).Spec},
			},
		}
	}
	const want = "at most"
	wantDenied(t, "more pods than fit into memory", s.tenant.Create(t.Context(), newSet("many", 20_000)), want)
	set := newSet("many", 0)
	s.create(t, set)
	wantDenied(t, "the same by an update", s.tenant.Patch(t.Context(), set, mergePatch(`{"spec":{"replicas":20000}}`)), want)
	scale := func(replicas int32) error {
		_, err := s.kube.AppsV1().StatefulSets(virtualNamespace).UpdateScale(t.Context(), "many", &autoscalingv1.Scale{
			ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: "many"}, Spec: autoscalingv1.ScaleSpec{Replicas: replicas},
		}, metav1.UpdateOptions{})
		return err
	}
	wantDenied(t, "the same by a scale", scale(20_000), want)

	revision := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: "large", Labels: labels},
		Data:       runtime.RawExtension{Raw: []byte(`{"spec":{"x":"` + strings.Repeat("x", 1<<20) + `"}}`)},
	}
	s.create(t, revision)
	wantDenied(t, "pods of a large revision", scale(200), want)
	if err := s.tenant.Delete(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
	// The pods are denied, so that the scale costs nothing.
	if err := s.tenant.Patch(t.Context(), set, mergePatch(`{"spec":{"template":{"spec":{"nodeName":"no-such-node"}}}}`)); err != nil {
		t.Fatal(err)
	}
	if err := scale(200); err != nil {
		t.Errorf("an ordinary number of replicas: %v", err)
	}
	revision.ResourceVersion, revision.UID = "", ""
	wantDenied(t, "a large revision after the scale", s.tenant.Create(t.Context(), revision), "StatefulSet many has 200 replicas")
	if err := scale(0); err != nil {
		t.Errorf("fewer replicas: %v", err)
	}
}

// deniedScheduleTime lets the CronJob controller count the runs of two thousand years.
func deniedScheduleTime(t *testing.T, s *site) {
	job := &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: "ancient"},
		Spec: batchv1.CronJobSpec{
			Schedule: "* * * * *", Suspend: new(true),
			JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: newPod("", func(p *corev1.Pod) {
				p.Spec.RestartPolicy = corev1.RestartPolicyNever
			}).Spec}}},
		},
	}
	s.create(t, job)
	forge := func(year string) error {
		return s.tenant.Status().Patch(t.Context(), job, mergePatch(`{"status":{"lastScheduleTime":"`+year+`-01-01T00:00:00Z"}}`))
	}
	wantDenied(t, "a run two thousand years ago", forge("0002"), "status.lastScheduleTime")
	if err := forge("2020"); err != nil {
		t.Errorf("a run some years ago: %v", err)
	}
}
