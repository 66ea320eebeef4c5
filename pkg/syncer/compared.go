package syncer

import (
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// compared remembers the versions of virtual objects and host copies that were found equal. A
// kind with MetadataOnly must read the body to compare them. It does so again only after one
// of the two has changed, however many pods requeue the object. Losing it costs a read. New pods
// wait for ConfigMaps and Secrets until they are in it.
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

// forget drops the versions of key.
func (c *compared) forget(key types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pairs, key)
}

// isCopied implements [Scope.IsCopied] for all kinds of the engine.
func (e *Engine) isCopied(virtual, host client.Object) bool {
	key, known := client.ObjectKeyFromObject(virtual), true
	for _, r := range e.listRunners() {
		if !r.kind.compared || reflect.TypeOf(r.kind.newHost()) != reflect.TypeOf(host) {
			continue
		}
		if r.reconciler.compared.agree(key, virtual, host) {
			return true
		}
		known = false
	}
	return known
}
