package replicas

import (
	"strings"
	"sync"
	"testing"

	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
)

// sharedEtcd is an etcd outside of the control plane, with a link of each replica to it.
type sharedEtcd struct {
	endpoint string
	mu       sync.Mutex
	links    map[string]*link
}

// link returns the link of a pod to the etcd.
func (e *sharedEtcd) link(t *testing.T, pod string) *link {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.links[pod] == nil {
		e.links[pod] = newLink(t, strings.TrimPrefix(e.endpoint, "http://"))
	}
	return e.links[pod]
}

// networkOf returns the way of a pod to the etcd, for faults.
func (e *sharedEtcd) networkOf(t *testing.T) func(pod string) network {
	t.Helper()
	return func(pod string) network { return e.link(t, pod) }
}

// setup returns a virtual cluster of several replicas with this store.
func (e *sharedEtcd) setup(t *testing.T, replicas int) setup {
	t.Helper()
	return setup{
		replicas: replicas,
		values:   sharedStore(e.endpoint, replicas),
		options: tenant.FleetOptions{
			Config: func(pod string, config []byte) []byte {
				return []byte(strings.ReplaceAll(string(config), e.endpoint, "http://"+e.link(t, pod).Address()))
			},
		},
	}
}
