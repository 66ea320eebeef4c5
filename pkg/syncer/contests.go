package syncer

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// quickContests is how many equal changes of one host copy follow each other without a pause.
const quickContests = 8

// contests remembers the last change of each host copy. A controller of the host may undo a change,
// and each time that is a difference again. The two would write in turn without end, and take the
// requests that other objects of the tenant need. A change that differs from the last one never waits.
type contests struct {
	mu    sync.Mutex
	clock clock.PassiveClock
	seed  maphash.Seed
	known *recent[types.NamespacedName, contest]
}

// contest is the last change of a copy.
type contest struct {
	change uint64 // digest of the requests
	count  int    // how often it was repeated
	next   time.Time
}

func newContests(c clock.PassiveClock) *contests {
	return &contests{clock: c, seed: maphash.MakeSeed(), known: newRecent[types.NamespacedName, contest](c, 2*lastAlteredPause)}
}

// digest returns what identifies a change of a copy, 0 for one that is no contest. What a host-first
// write has left to remove is equal each time, and nobody has undone it.
func (c *contests) digest(host client.Object, patches []hostPatch) (uint64, error) {
	if host.GetAnnotations()[labels.Awaits] != "" {
		return 0, nil
	}
	var hash maphash.Hash
	hash.SetSeed(c.seed)
	for _, p := range patches {
		_, _ = hash.WriteString(p.subresource)
		if err := json.NewEncoder(&hash).Encode(p.fields); err != nil {
			return 0, fmt.Errorf("cannot encode a patch: %w", err)
		}
	}
	return hash.Sum64(), nil
}

// check returns the digest of a change of a copy, and how long the change has to wait, 0 for not at all.
func (c *contests) check(key types.NamespacedName, host client.Object, patches []hostPatch) (change uint64, wait time.Duration, err error) {
	change, err = c.digest(host, patches)
	if err != nil {
		return 0, 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.known.get(key); ok && change != 0 && last.change == change {
		wait = max(0, last.next.Sub(c.clock.Now()))
	}
	return change, wait, nil
}

// record records a change that was written. It reports whether the next one has to wait for the
// first time.
func (c *contests) record(key types.NamespacedName, change uint64) (begins bool) {
	if change == 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	last, ok := c.known.get(key)
	next := contest{change: change, next: c.clock.Now()}
	if ok && last.change == change {
		next.count = last.count + 1
	}
	beyond := next.count - quickContests
	if beyond >= 0 {
		next.next = next.next.Add(min(firstAlteredPause<<min(beyond, 10), lastAlteredPause))
	}
	c.known.set(key, next)
	return beyond == 0
}
