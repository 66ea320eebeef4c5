package app

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// nodeReaderUser is the user that reads nodes for the admission of pods with spec.nodeName.
const nodeReaderUser = "system:sublet:node-reader"

// readNode gets a node of the virtual cluster by a live read. Few pods set spec.nodeName, and a
// tenant may use a node right after it appeared.
func (a *builtApp) readNode(ctx context.Context, name string) (*corev1.Node, error) {
	client, err := kubernetes.NewForConfig(a.controlPlane.ClientConfig(nodeReaderUser, pki.GroupAdmins))
	if err != nil {
		return nil, err
	}
	return client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
}
