package app

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	// nodeReaderUser is the user that reads nodes for the admission of pods with spec.nodeName.
	nodeReaderUser = "system:sublet:node-reader"
	// admissionReaderUser is the user that reads StatefulSets for their admission, and tries with dry runs
	// what bindings write to pods.
	admissionReaderUser = "system:sublet:admission-reader"
)

// admissionReader returns a client of the virtual cluster for checks that few requests need.
func (v *virtualAPI) admissionReader() (kubernetes.Interface, error) {
	return v.client(admissionReaderUser)
}

// readNode gets a node of the virtual cluster by a live read. Few pods set spec.nodeName, and a
// tenant may use a node right after it appeared.
func (v *virtualAPI) readNode(ctx context.Context, name string) (*corev1.Node, error) {
	client, err := v.client(nodeReaderUser)
	if err != nil {
		return nil, err
	}
	return client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
}
