package nodes

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Pseudo returns the kind that creates a virtual node for every node name that host
// pods of this virtual cluster are bound to. A virtual pod then never runs on a node
// that does not exist. The node is deleted with the last of its pods.
func Pseudo(o Options) syncer.Resource[*corev1.Node, *corev1.Pod] {
	return syncer.Resource[*corev1.Node, *corev1.Pod]{
		Owner: syncer.Host,
		Names: translate.Same,
		Origin: func(s syncer.Scope, host *corev1.Pod) (types.NamespacedName, bool) {
			_, _, ours := translate.Origin(s.Cluster, translate.Hashed, host)
			return types.NamespacedName{Name: host.Spec.NodeName}, ours && host.Spec.NodeName != ""
		},
		FindOriginal: func(s syncer.Scope, virtual types.NamespacedName) (*corev1.Pod, bool, error) {
			return podOn(s, virtual.Name)
		},
		Want: func(_ syncer.Scope, virtual *corev1.Node, _ *corev1.Pod) (bool, error) {
			// The API server keeps these for the life of a node.
			return virtual == nil || virtual.Spec.ProviderID == "" && virtual.Spec.PodCIDR == "" && len(virtual.Spec.PodCIDRs) == 0, nil
		},
		Up: func(s syncer.Scope, host *corev1.Pod, virtual *corev1.Node) error {
			return fillPseudo(s, o, host, virtual)
		},
		Indexes: []syncer.Index{HostPodsByNode()},
	}
}

// pseudoReason is the reason of the condition Ready of a pseudo node.
const pseudoReason = "PodsRunHere"

// isPseudo reports whether a virtual node is a pseudo node.
func isPseudo(virtual *corev1.Node) bool {
	return slices.ContainsFunc(virtual.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Reason == pseudoReason
	})
}

// fillPseudo fills in what every node has. Only its name and addresses are those of
// the host's node. Labels and annotations that a tenant adds stay, as on a real node. It
// removes what the node has shown of the host's node before that was switched off.
func fillPseudo(s syncer.Scope, o Options, host *corev1.Pod, virtual *corev1.Node) error {
	template := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{
		corev1.LabelHostname: virtual.Name,
		corev1.LabelOSStable: string(corev1.Linux),
	}}}
	if err := overlay(s, template, virtual, o); err != nil {
		return err
	}
	resources := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse("16"),
		corev1.ResourceMemory:           resource.MustParse("32Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
		corev1.ResourcePods:             resource.MustParse("110"),
	}
	virtual.Spec.PodPreemptionPolicy = nil
	status := corev1.NodeStatus{
		Capacity: resources, Allocatable: resources.DeepCopy(),
		NodeInfo:  corev1.NodeSystemInfo{OperatingSystem: string(corev1.Linux), KubeletVersion: o.KubeletVersion},
		Addresses: virtual.Status.Addresses, Conditions: virtual.Status.Conditions,
	}
	status.DaemonEndpoints.KubeletEndpoint.Port = kubeletPort
	wasPseudo := isPseudo(virtual)
	if host.Status.HostIP != "" || len(status.Addresses) == 0 || !wasPseudo {
		status.Addresses = addressesOf(host, virtual.Name)
	}
	if !wasPseudo {
		now := metav1.NewTime(s.Now)
		status.Conditions = []corev1.NodeCondition{{
			Type:               corev1.NodeReady,
			Status:             corev1.ConditionTrue,
			Reason:             pseudoReason,
			Message:            "made up: the host's node is not shown to this virtual cluster",
			LastHeartbeatTime:  now,
			LastTransitionTime: now,
		}}
	}
	virtual.Status = status
	return nil
}

// kubeletPort is the default port of a kubelet. The API server dials it for logs
// and exec, and the node proxy answers in process.
const kubeletPort = 10250

// addressesOf returns a node's addresses as the status of its pod shows them.
func addressesOf(host *corev1.Pod, name string) []corev1.NodeAddress {
	var addresses []corev1.NodeAddress
	if len(host.Status.HostIPs) == 0 && host.Status.HostIP != "" {
		addresses = append(addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: host.Status.HostIP})
	}
	for _, ip := range host.Status.HostIPs {
		addresses = append(addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip.IP})
	}
	return append(addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: name})
}
