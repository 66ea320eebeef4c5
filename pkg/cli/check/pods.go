package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// componentLabel is the label of the chart with what a pod is for.
const componentLabel = "app.kubernetes.io/component"

// ownPod is a sort of pods of the release.
type ownPod struct {
	corev1.PodTemplateSpec
	// name is the object of the chart that has it, as in StatefulSet/shop.
	name string
	// resources is the setting of its compute resources.
	resources string
}

// ownPods returns the pods of the release: those of its workloads, and those of hooks.
func (t *target) ownPods() []ownPod {
	var pods []ownPod
	for _, object := range slices.Concat(t.rendered, t.hooks) {
		pod := ownPod{name: object.GetKind() + "/" + object.GetName()}
		switch object.GetKind() {
		case "StatefulSet":
			set := &appsv1.StatefulSet{}
			if !isRead(&object, set) {
				continue
			}
			pod.PodTemplateSpec, pod.resources = set.Spec.Template, "controlPlane.statefulSet.resources"
			for _, claim := range set.Spec.VolumeClaimTemplates {
				source := corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
				pod.Spec.Volumes = append(slices.Clone(pod.Spec.Volumes), corev1.Volume{Name: claim.Name, VolumeSource: source})
			}
		case "Deployment":
			deployment := &appsv1.Deployment{}
			if !isRead(&object, deployment) {
				continue
			}
			pod.PodTemplateSpec, pod.resources = deployment.Spec.Template, "controlPlane.coredns.resources"
		case "Pod":
			hook := &corev1.Pod{}
			if !isRead(&object, hook) {
				continue
			}
			pod.ObjectMeta, pod.Spec, pod.resources = hook.ObjectMeta, hook.Spec, "controlPlane.advanced.hooks.resources"
		default:
			continue
		}
		pods = append(pods, pod)
	}
	return pods
}

// isRead reads an object into one of its type. It reports whether that succeeded.
func isRead(from *unstructured.Unstructured, into any) bool {
	return runtime.DefaultUnstructuredConverter.FromUnstructured(from.Object, into) == nil
}

// workload returns the StatefulSet of the chart, nil if nothing was rendered.
func (t *target) workload() *appsv1.StatefulSet {
	for i := range t.rendered {
		set := &appsv1.StatefulSet{}
		if t.rendered[i].GetKind() == "StatefulSet" && isRead(&t.rendered[i], set) {
			return set
		}
	}
	return nil
}

// checkPods sends all pods of the release as a dry run. The quota, the pod security level, the
// limit ranges and the webhooks of the namespace decide.
func (t *target) checkPods(ctx context.Context) result {
	const name = "pod"
	switch {
	case t.workload() == nil:
		return skip(name, "the settings are not valid")
	case t.installed != nil:
		return skip(name, "it is installed already")
	case !t.hasNamespace:
		return skip(name, "namespace %s does not exist: create it to check this", t.Namespace)
	}
	pods := t.ownPods()
	for i := range pods {
		if found := t.checkPod(ctx, name, &pods[i]); found.Status != passed {
			return found
		}
	}
	return pass(name, "the host accepts the pod of the control plane, and %d others", len(pods)-1)
}

// checkPod sends one pod as a dry run.
func (t *target) checkPod(ctx context.Context, name string, own *ownPod) result {
	pod := &corev1.Pod{ObjectMeta: own.ObjectMeta, Spec: own.Spec}
	pod.Name, pod.GenerateName, pod.Namespace = "", t.Name+"-check-", t.Namespace
	// The account does not exist yet.
	pod.Spec.ServiceAccountName, pod.Spec.AutomountServiceAccountToken = "default", new(bool)
	_, err := t.client.CoreV1().Pods(t.Namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err == nil {
		return pass(name, "the host accepts it")
	}
	if apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot create resource") {
		return skip(name, "the user may not create pods")
	}
	if fix := t.podFix(err.Error(), own.resources); fix != "" {
		return fail(name, fix, "the host does not accept the pod of %s: %v", own.name, err)
	}
	return failWith(name, fmt.Errorf("the host does not accept the pod of %s: %w", own.name, err))
}

// podFix returns what to do about a refused pod, by the message of the host. It is empty for other refusals.
func (t *target) podFix(text, resources string) string {
	for _, known := range []struct{ part, fix string }{
		{"must specify", "A quota of the host wants requests or limits of each container. Set what the message names in " + resources + "."},
		{"exceeded quota", "Raise the quota, or lower " + resources + ". See it with: kubectl -n " + t.Namespace + " describe quota"},
		{"usage per Container", "Change " + resources + ", or the limit range. See it with: kubectl -n " + t.Namespace + " describe limitrange"},
		{"limit to request ratio", "Change " + resources + ", or the limit range. See it with: kubectl -n " + t.Namespace + " describe limitrange"},
		{"violates PodSecurity", "Leave the security contexts of the chart as they are: they fit the level restricted."},
		{"security context constraint", "Set runAsUser, runAsGroup and fsGroup of controlPlane.statefulSet.security.podSecurityContext to null."},
	} {
		if strings.Contains(text, known.part) {
			return known.fix
		}
	}
	return ""
}
