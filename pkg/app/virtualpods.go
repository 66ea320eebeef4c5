package app

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// virtualPods gets virtual pods for the node proxy. The proxy is built before the control plane,
// so the client is set later, before either of them runs.
type virtualPods struct {
	client kubernetes.Interface
}

// get gets a virtual pod by a live read.
func (v *virtualPods) get(ctx context.Context, key types.NamespacedName) (*corev1.Pod, error) {
	return v.client.CoreV1().Pods(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
}
