package check

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	imageName = "image"
	// pullInterval is the time between two looks at the pod.
	pullInterval = 500 * time.Millisecond
	// deleteTimeout bounds the request that deletes the pod.
	deleteTimeout = 10 * time.Second
)

// errPull is the end of the wait for an image that cannot be pulled.
var errPull = errors.New("cannot pull it")

// checkImage checks that a node can pull the image of the control plane. The pods of a virtual
// cluster that exists show it. Before that, only a pod of --pull does.
func (t *target) checkImage(ctx context.Context) result {
	set := t.workload()
	if set == nil || len(set.Spec.Template.Spec.Containers) == 0 {
		return skip(imageName, "the settings are not valid")
	}
	image := set.Spec.Template.Spec.Containers[0].Image
	switch {
	case t.installed != nil:
		return t.checkPulled(ctx, image)
	case t.pullTimeout == 0:
		return skip(imageName, "pull %s with --pull", image)
	case !t.hasNamespace:
		return skip(imageName, "namespace %s does not exist: create it to pull", t.Namespace)
	}
	return t.pullImage(ctx, image, pullPod(t.Name, set.Spec.Template))
}

// checkPulled looks at the pods of a virtual cluster that exists.
func (t *target) checkPulled(ctx context.Context, image string) result {
	for ordinal := range int(t.installed.Replicas) {
		pod, err := t.client.CoreV1().Pods(t.Namespace).Get(ctx, t.Pod(ordinal), metav1.GetOptions{})
		if err != nil {
			return skip(imageName, "cannot get pod %s/%s: %v", t.Namespace, t.Pod(ordinal), err)
		}
		if reason := pullProblem(pod); reason != "" {
			return imageFailure(image, reason)
		}
		if !hasPulled(pod) {
			return skip(imageName, "no container of pod %s/%s has started, so nobody knows yet", t.Namespace, pod.Name)
		}
	}
	return pass(imageName, "each replica has pulled %s", image)
}

// imageFailure returns the result for an image that cannot be pulled.
func imageFailure(image, reason string) result {
	return fail(imageName, "Set controlPlane.statefulSet.image to a registry that the nodes reach, and controlPlane.statefulSet.imagePullSecrets if it needs a password.",
		"cannot pull %s: %s", image, reason)
}

// pullImage starts a pod that the kubelet pulls the image for, and deletes it.
func (t *target) pullImage(ctx context.Context, image string, wanted *corev1.Pod) (r result) {
	pods := t.client.CoreV1().Pods(t.Namespace)
	pod, err := pods.Create(ctx, wanted, metav1.CreateOptions{})
	if err != nil {
		return failWith(imageName, fmt.Errorf("cannot create a pod that pulls the image: %w", err))
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
		defer cancel()
		if err := pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
			r = warn(imageName, fmt.Sprintf("Delete it with: kubectl -n %s delete pod %s", t.Namespace, pod.Name), "%s. Cannot delete pod %s: %v", r.Message, pod.Name, err)
		}
	}()
	reason := "the pod is not scheduled"
	began := time.Now()
	err = wait.PollUntilContextTimeout(ctx, pullInterval, t.pullTimeout, true, func(ctx context.Context) (bool, error) {
		current, err := pods.Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		if problem := pullProblem(current); problem != "" {
			reason = problem
			return false, errPull
		}
		if current.Spec.NodeName != "" {
			reason = "still pulling on node " + current.Spec.NodeName
		}
		return hasPulled(current), nil
	})
	if err != nil {
		return imageFailure(image, reason)
	}
	return pass(imageName, "a node pulled %s in %s", image, time.Since(began).Round(100*time.Millisecond))
}

// pullPod returns a pod that prints the version of the control plane, and ends. A host that accepts the pod of the
// control plane accepts it too, and it runs where that would.
func pullPod(name string, template corev1.PodTemplateSpec) *corev1.Pod {
	labels := maps.Clone(template.Labels)
	labels[componentLabel] = "check" // Services lead to the control plane.
	own, spec := template.Spec.Containers[0], template.Spec
	spec.Containers = []corev1.Container{{
		Name: "pull", Image: own.Image, ImagePullPolicy: own.ImagePullPolicy, Args: []string{"version"},
		Resources: own.Resources, SecurityContext: own.SecurityContext,
	}}
	spec.InitContainers, spec.Volumes, spec.RestartPolicy = nil, nil, corev1.RestartPolicyNever
	spec.ServiceAccountName, spec.AutomountServiceAccountToken, spec.EnableServiceLinks = "", new(bool), new(bool)
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: name + "-check-", Labels: labels, Annotations: template.Annotations}, Spec: spec}
}

// pullProblem returns why the image of a pod cannot be pulled. It is empty if nothing is known.
func pullProblem(pod *corev1.Pod) string {
	for _, status := range pod.Status.ContainerStatuses {
		if waiting := status.State.Waiting; waiting != nil && slices.Contains([]string{"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}, waiting.Reason) {
			return waiting.Reason + ": " + waiting.Message
		}
	}
	return ""
}

// hasPulled reports whether a container of the pod has started. Whether it ended well does not matter.
func hasPulled(pod *corev1.Pod) bool {
	for _, status := range pod.Status.ContainerStatuses {
		if status.State.Running != nil || status.State.Terminated != nil {
			return true
		}
	}
	return false
}
