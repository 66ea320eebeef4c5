package syncer

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// quickAlterations is how many altered writes of one object are sent without a pause.
	quickAlterations = 5
	// firstAlteredPause and lastAlteredPause bound the pause before the next write, which
	// doubles each time.
	firstAlteredPause = time.Second
	lastAlteredPause  = time.Minute
)

// alterations remembers the virtual objects that the API server stores differently from what
// the engine wrote. A mutating webhook or policy of the tenant may do that. The next reconcile
// then finds a difference and writes again, without end. So these writes are slowed down.
type alterations struct {
	mu    sync.Mutex
	clock clock.PassiveClock
	known *recent[types.NamespacedName, alteration]
}

// alteration is an object whose last write the API server altered.
type alteration struct {
	// virtual and host are the versions of both objects after the write.
	virtual, host string
	count         int
	next          time.Time // when it may be written again
}

func newAlterations(c clock.PassiveClock) *alterations {
	return &alterations{clock: c, known: newRecent[types.NamespacedName, alteration](c, 2*lastAlteredPause)}
}

// pause returns how long a write of a virtual object must wait, 0 if it may be sent. Any other
// change of the virtual or the host object ends the wait.
func (a *alterations) pause(key types.NamespacedName, host, virtual client.Object) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, ok := a.known.get(key)
	if !ok || last.virtual != resourceVersionOf(virtual) || last.host != resourceVersionOf(host) {
		return 0
	}
	return max(0, last.next.Sub(a.clock.Now()))
}

// record records a write that turned before into written, and whether it was altered.
func (a *alterations) record(key types.NamespacedName, host, before, written client.Object, altered bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, known := a.known.get(key)
	// A write that follows an altered one at once may be one of two that undo each other.
	repeats := known && last.virtual == resourceVersionOf(before) && last.host == resourceVersionOf(host)
	if !altered && !repeats {
		a.known.delete(key)
		return
	}
	next := alteration{virtual: resourceVersionOf(written), host: resourceVersionOf(host), count: last.count}
	if repeats {
		next.count++
	}
	next.next = a.clock.Now()
	if beyond := next.count - quickAlterations; beyond >= 0 {
		next.next = next.next.Add(min(firstAlteredPause<<min(beyond, 10), lastAlteredPause))
	}
	a.known.set(key, next)
}

// resourceVersionOf returns the version of an object, empty for none.
func resourceVersionOf(object client.Object) string {
	if object == nil {
		return ""
	}
	return object.GetResourceVersion()
}

// isAlteredBesidesStatus reports whether the stored object differs from the sent one in more than
// the status and the fields that the API server itself sets.
func isAlteredBesidesStatus(sent, stored client.Object) bool {
	same := deepCopy(stored)
	same.SetResourceVersion(sent.GetResourceVersion())
	same.SetGeneration(sent.GetGeneration())
	same.SetManagedFields(sent.GetManagedFields())
	return !equalBesidesStatus(sent, same)
}
