package app

import (
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/metricsapi"
)

// addedGroups returns the API groups that optional integrations add. virtual returns a client of
// the virtual cluster, which is not known yet at this point.
func (a *connectedApp) addedGroups(virtual func() kubernetes.Interface) ([]*controlplane.Group, error) {
	settings := a.values.Integrations.MetricsServer
	if !settings.Enabled {
		return nil, nil
	}
	metrics, err := metricsapi.New(metricsapi.Options{
		Host: a.host, Cluster: a.cluster(), Virtual: virtual, Pods: settings.Pods, Nodes: settings.Nodes,
	})
	if err != nil {
		return nil, err
	}
	return []*controlplane.Group{metrics}, nil
}
