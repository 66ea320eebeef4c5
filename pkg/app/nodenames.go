package app

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// nodeReaderUser is the user in the virtual cluster that reads the nodes which pods name.
const nodeReaderUser = "system:sublet:node-reader"

// readNode returns a node of the virtual cluster. It does not read a cache: few pods name a
// node, and a tenant may name one that was just shown.
func (a *app) readNode(ctx context.Context, name string) (*corev1.Node, error) {
	client, err := kubernetes.NewForConfig(a.controlPlane.ClientConfig(nodeReaderUser, pki.GroupAdmins))
	if err != nil {
		return nil, err
	}
	return client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
}
