package app

import (
	"context"

	etcd "go.etcd.io/etcd/client/v3/kubernetes"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/pkg/app/customresources"
	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// virtualAPI gives the parts that the control plane is built from access to it. They exist before
// it, so [openApp.build] connects them later. They need the fields only to answer requests, which
// come later still.
type virtualAPI struct {
	controlPlane *controlplane.ControlPlane
	definitions  *customresources.Definitions // nil if no custom resource is synced
	// reader is the client of the node proxy and of metrics.
	reader kubernetes.Interface
}

// connect gives access to a control plane. It need not run yet.
func (v *virtualAPI) connect(plane *controlplane.ControlPlane) (err error) {
	v.controlPlane = plane
	v.reader, err = v.client(nodeProxyUser)
	return err
}

// client returns a new client of the virtual cluster with the given user.
func (v *virtualAPI) client(user string) (kubernetes.Interface, error) {
	return kubernetes.NewForConfig(v.controlPlane.ClientConfig(user, pki.GroupAdmins))
}

// readerClient returns the client of the node proxy and of metrics.
func (v *virtualAPI) readerClient() kubernetes.Interface { return v.reader }

// storeClient returns the client of the store. The control plane must have started it.
func (v *virtualAPI) storeClient() etcd.Interface { return v.controlPlane.Store().Kubernetes }

// getPod gets a virtual pod by a live read.
func (v *virtualAPI) getPod(ctx context.Context, key types.NamespacedName) (*corev1.Pod, error) {
	return v.reader.CoreV1().Pods(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
}
