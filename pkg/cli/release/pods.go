package release

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/pkg/cli/fault"
)

// ControlPlaneContainer is the name of the control plane's container. Its pod may have others.
const ControlPlaneContainer = "sublet"

// PodNames returns the names of the pods of the control plane. Those of the controllers come last, if they have a
// workload of their own. It makes one request.
func (c Cluster) PodNames(ctx context.Context, client kubernetes.Interface) ([]string, error) {
	names := []string{}
	for ordinal := range int(c.Replicas) {
		names = append(names, c.Pod(ordinal))
	}
	workload, err := client.AppsV1().StatefulSets(c.Namespace).Get(ctx, c.Controllers(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return names, nil
	case err != nil:
		return nil, fault.Wrap(err, "cannot get StatefulSet %s/%s", c.Namespace, c.Controllers())
	case workload.Labels["app.kubernetes.io/component"] != "controllers" || workload.Labels["app.kubernetes.io/instance"] != c.Name:
		return names, nil // another release has that name
	}
	replicas := int32(1)
	if workload.Spec.Replicas != nil {
		replicas = *workload.Spec.Replicas
	}
	for ordinal := range int(replicas) {
		names = append(names, c.ControllersPod(ordinal))
	}
	return names, nil
}
