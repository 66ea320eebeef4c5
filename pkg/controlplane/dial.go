package controlplane

import (
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apiserver/pkg/server/egressselector"
)

// egressSelector returns the selector from which every part of the API server gets its
// dialer. The parts are the proxies of pods, Services and nodes, webhooks, converters,
// aggregated APIs and the check of their health. It returns nil without a dialer of our
// own, so that upstream dials the network. The store and kubelets have other dialers.
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
