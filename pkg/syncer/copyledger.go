package syncer

import (
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// copyLedger counts the copies on the host, by resource. A copy is entered before the request
// that writes it is sent, so that concurrent requests cannot exceed a limit together. Events of
// the host correct the entries. All kinds of an engine share one ledger, because several may
// have copies of the same resource.
type copyLedger struct {
	limits ObjectLimits
	// onFreed is called when a copy of a resource is gone or smaller.
	onFreed func(resource string)

	mu     sync.Mutex
	copies map[string]map[types.NamespacedName]int64 // resource -> host object -> size in bytes
	bytes  map[string]int64                          // resource -> size of all copies
	unseen map[unseenCopy]int                        // copy -> checks since it was written without an event
}

// unseenCopy is a copy that was written and for which no event has come yet.
type unseenCopy struct {
	resource string
	key      types.NamespacedName
}

// maxUnseen is the number of checks after which an unseen copy is dropped from the ledger. It was
// deleted before the watch could show it.
const maxUnseen = int(5 * time.Minute / monitorPeriod)

func newCopyLedger(limits ObjectLimits) *copyLedger {
	return &copyLedger{
		limits: limits, onFreed: func(string) {},
		copies: map[string]map[types.NamespacedName]int64{}, bytes: map[string]int64{}, unseen: map[unseenCopy]int{},
	}
}

// reserve enters a copy that is about to be created or changed. It returns a [limitError] if
// the copy exceeds a limit. The caller calls undo if the write fails.
func (l *copyLedger) reserve(resource string, host client.Object) (undo func(), err error) {
	key, newSize := client.ObjectKeyFromObject(host), sizeOf(host)
	l.mu.Lock()
	defer l.mu.Unlock()
	oldSize, existed := l.copies[resource][key]
	if err := l.fits(resource, newSize-oldSize, existed); err != nil {
		return nil, err
	}
	l.set(resource, key, newSize)
	if !existed {
		l.unseen[unseenCopy{resource, key}] = 0
	}
	return func() {
		if !existed {
			l.forget(resource, key)
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if _, exists := l.copies[resource][key]; exists { // Otherwise the host has deleted it since then.
			l.set(resource, key, oldSize)
		}
	}, nil
}

// dropUnseen drops copies for which no event has come for too long. The monitor calls it at
// each check.
func (l *copyLedger) dropUnseen() {
	l.mu.Lock()
	var dropped []unseenCopy
	for entry := range l.unseen {
		if l.unseen[entry]++; l.unseen[entry] > maxUnseen {
			dropped = append(dropped, entry)
		}
	}
	l.mu.Unlock()
	for _, entry := range dropped {
		l.forget(entry.resource, entry.key)
		l.onFreed(entry.resource)
	}
}

// check returns a [limitError] if a copy exceeds a limit. Unlike reserve, it enters nothing.
func (l *copyLedger) check(resource string, host client.Object) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	size, existed := l.copies[resource][client.ObjectKeyFromObject(host)]
	return l.fits(resource, sizeOf(host)-size, existed)
}

// fits returns a [limitError] if a copy that grows by some bytes exceeds a limit. The caller
// holds the lock.
func (l *copyLedger) fits(resource string, grows int64, existed bool) error {
	count, bytes := l.limits.of(resource)
	used, added := int64(len(l.copies[resource])), int64(1)
	if existed {
		added = 0
	}
	exceeded := &limitError{resource: resource, limit: count, used: used, asked: added}
	if count.allows(used, added) {
		if bytes.allows(l.bytes[resource], grows) {
			return nil
		}
		exceeded = &limitError{resource: resource, limit: bytes, used: l.bytes[resource], asked: grows}
	}
	processMetrics().limited.WithLabelValues(resource, exceeded.limit.unit).Inc()
	return exceeded
}

// observe enters the size of a copy that the host has.
func (l *copyLedger) observe(resource string, key types.NamespacedName, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.unseen, unseenCopy{resource, key})
	l.set(resource, key, size)
}

// set enters the size of a copy. The caller holds the lock.
func (l *copyLedger) set(resource string, key types.NamespacedName, size int64) {
	copies := l.copies[resource]
	if copies == nil {
		copies = map[types.NamespacedName]int64{}
		l.copies[resource] = copies
	}
	l.bytes[resource] += size - copies[key]
	copies[key] = size
	l.setMetrics(resource)
}

// forget removes a copy that the host does not have.
func (l *copyLedger) forget(resource string, key types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes[resource] -= l.copies[resource][key]
	delete(l.copies[resource], key)
	delete(l.unseen, unseenCopy{resource, key})
	l.setMetrics(resource)
}

// setMetrics sets the metrics of a resource. The caller holds the lock.
func (l *copyLedger) setMetrics(resource string) {
	processMetrics().copies.WithLabelValues(resource).Set(float64(len(l.copies[resource])))
	processMetrics().copyBytes.WithLabelValues(resource).Set(float64(l.bytes[resource]))
}

// usage returns the usage of all resources, sorted by resource.
func (l *copyLedger) usage() []Usage {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Usage, 0, len(l.copies))
	for resource, copies := range l.copies {
		count, bytes := l.limits.of(resource)
		all = append(all, Usage{
			Resource: resource, Count: int64(len(copies)), Bytes: l.bytes[resource], MaxCount: count.most, MaxBytes: bytes.most,
		})
	}
	slices.SortFunc(all, func(a, b Usage) int { return strings.Compare(a.Resource, b.Resource) })
	return all
}
