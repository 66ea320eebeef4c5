package app

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/pkg/kubeletmetrics"
)

// newKubeletMetrics returns the handler that serves kubelet metrics to the tenant. virtual
// returns a client of the virtual cluster, which is not known yet at this point. Of the host's config, the
// handler only uses the credentials: its requests go to kubelets, not to the host's API server. It bounds them itself.
func (a *connectedApp) newKubeletMetrics(virtual func() kubernetes.Interface) (*kubeletmetrics.Handler, error) {
	settings := a.values.Integrations.KubeletMetrics
	return kubeletmetrics.New(kubeletmetrics.Options{
		Enabled:               settings.Enabled,
		InsecureSkipTLSVerify: settings.InsecureSkipTLSVerify,
		Host:                  a.host,
		Cluster:               a.cluster(),
		Virtual:               virtual,
		HostNode: func(ctx context.Context, name string) (*corev1.Node, error) {
			return a.tenantClient.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		},
	})
}
