package controlplane

import (
	corev1 "k8s.io/api/core/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/server/egressselector"
	kubeletclient "k8s.io/kubernetes/pkg/kubelet/client"
)

// reachKubelets configures how the API server connects to kubelets. With dial, the addresses of nodes
// are not used.
//
// But the proxy of a node resolves the address first. The host's DNS usually does not know the names
// of nodes, and its error would disclose the nameserver to the tenant.
func reachKubelets(config *kubeletclient.KubeletClientConfig, dial utilnet.DialFunc) {
	config.PreferredAddressTypes = []string{
		string(corev1.NodeInternalIP), string(corev1.NodeExternalIP),
		string(corev1.NodeHostName), string(corev1.NodeInternalDNS), string(corev1.NodeExternalDNS),
	}
	if dial != nil {
		config.Lookup = func(egressselector.NetworkContext) (utilnet.DialFunc, error) { return dial, nil }
	}
}
