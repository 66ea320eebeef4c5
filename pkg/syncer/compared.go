package syncer

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// compared remembers which versions of a virtual object and its host copy were found to
// agree. A kind that caches metadata alone reads a body again only when one of the two has
// changed. Hundreds of pods may refer to one ConfigMap. Losing it costs a read.
type compared struct {
	mu    sync.Mutex
	pairs map[types.NamespacedName]versionPair
}

// versionPair identifies one state of both sides.
type versionPair struct {
	virtualUID, hostUID         types.UID
	virtualVersion, hostVersion string
}

func newCompared() *compared {
	return &compared{pairs: map[types.NamespacedName]versionPair{}}
}

func versionsOf(virtual, host client.Object) versionPair {
	return versionPair{virtual.GetUID(), host.GetUID(), virtual.GetResourceVersion(), host.GetResourceVersion()}
}

// record records that the two sides of key agree.
func (c *compared) record(key types.NamespacedName, virtual, host client.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pairs[key] = versionsOf(virtual, host)
}

// agree reports whether these versions of the two sides of key were found to agree.
func (c *compared) agree(key types.NamespacedName, virtual, host client.Object) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	pair, ok := c.pairs[key]
	return ok && pair == versionsOf(virtual, host)
}

// forget drops what is known of key.
func (c *compared) forget(key types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pairs, key)
}
