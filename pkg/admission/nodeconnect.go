package admission

import (
	"context"
	"strconv"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/pkg/policy"
)

// kubeletPort is the port of kubelets, which the node proxy answers for.
const kubeletPort = 10250

// checkNodeConnect denies the proxy to ports of a node other than the kubelet's. The API server would connect
// to the host's node.
func checkNodeConnect(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) (Decision, error) {
	if a.GetOperation() != admission.Connect {
		return Decision{}, nil
	}
	_, _, port, valid := utilnet.SplitSchemeNamePort(a.GetName())
	if !valid || port == "" || port == strconv.Itoa(kubeletPort) {
		return Decision{}, nil
	}
	return Decision{Violations: []policy.Violation{{
		Field: "port", Value: port,
		Detail: "this port of a node is not served, because nodes belong to the host. The proxy of a node relays logs, exec, attach and port-forward of the tenant's pods",
	}}}, nil
}
