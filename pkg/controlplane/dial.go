package controlplane

import (
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/server/egressselector"
)

// egressSelector returns the selector that provides the dialer of [Config.Dial] to the API server. The
// proxies of pods, Services and nodes, webhooks, conversion webhooks and aggregated APIs use it. It
// returns nil if there is no such dialer, so that upstream dials the network. The store and kubelets
// have other dialers.
func (a *assembly) egressSelector() *egressselector.EgressSelector {
	dial := a.config.Dial
	if dial == nil {
		return nil
	}
	return egressselector.NewEgressSelectorWithMap(map[egressselector.EgressType]utilnet.DialFunc{
		egressselector.Cluster:      dial,
		egressselector.ControlPlane: dial,
	})
}
