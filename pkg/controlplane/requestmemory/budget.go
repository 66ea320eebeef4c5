// Package requestmemory bounds the memory that requests from outside of the process take together.
//
// Kubernetes bounds the number of requests, but a tenant may raise that limit, and a list of large objects is
// one request. So a tenant could end the process with a few requests, in particular if it reads the answers
// slowly.
//
// Each request has an [Account] with the body that it sends and the values that it reads from the store. The
// [Budget] bounds the sum of all accounts. Whoever exceeds the budget waits. One request at a
// time may exceed it, so that a list of everything succeeds. The budget bounds the number of accounts as well.
package requestmemory

import (
	"context"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/component-base/metrics"

	"github.com/sublet-dev/sublet/pkg/meter"
)

const (
	// limitShare divides the memory limit of the process into parts. One is the budget.
	limitShare = 8
	// smallRequest is how many bytes of each request do not count. So small requests succeed whatever others
	// take. The limit divided by it is the most requests at a time.
	smallRequest = 64 << 10
	// userShare divides the most requests at a time into parts. One user gets one of them, so that nobody
	// denies the requests of everybody else.
	userShare = 2
	// patience is how long a request waits for memory.
	patience = 10 * time.Second
	// maxFetchedKeys bounds the keys that are read from the store at a time and not yet added to an account.
	maxFetchedKeys = 256
)

// shortRequestsTotal is the metric of requests that exceeded the budget.
var shortRequestsTotal = sync.OnceValue(func() *metrics.CounterVec { //nolint:gochecknoglobals // a metric is one per process
	return meter.CounterVec("sublet_requests_short_of_memory_total",
		"Requests of the tenant that exceeded the memory for requests or their number, by outcome: delayed, denied, or ended for a watch.", "outcome")
})

// Budget bounds the sum of accounts.
type Budget struct {
	limit func() int64
	// fetching bounds what is read from the store before its size is known.
	fetching *semaphore.Weighted

	mu   sync.Mutex
	used int64
	// accounts and ofUser are the numbers of accounts, in total and by user.
	accounts int64
	ofUser   map[string]int64
	// exceeding is the account that may exceed the limit, nil for none. It does not count in used.
	exceeding *Account
	waiting   []*waiter
}

// waiter is a request that waits for memory.
type waiter struct {
	account *Account
	size    int64
	granted chan struct{}
}

// NewBudget returns a budget of limit bytes. The limit may change.
func NewBudget(limit func() int64) *Budget {
	return &Budget{limit: limit, fetching: semaphore.NewWeighted(maxFetchedKeys), ofUser: map[string]int64{}}
}

// ShareOfLimit returns the part of the memory limit of the process that requests may take.
func ShareOfLimit() int64 {
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return limit
	}
	return limit / limitShare
}

// MostRequests returns how many requests at a time fit into a share of the memory limit.
func MostRequests(share int64) int64 { return share / smallRequest }

// NewAccount returns the empty account of a request. The caller must close it. It returns a status with code 429
// if there are too many requests, in total or of the user.
func (b *Budget) NewAccount(user string) (*Account, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	most := MostRequests(b.limit())
	if b.accounts >= most || b.ofUser[user] >= (most+userShare-1)/userShare {
		shortRequestsTotal().WithLabelValues("denied").Inc()
		return nil, newTooManyRequests()
	}
	b.accounts++
	b.ofUser[user]++
	return &Account{budget: b, user: user}, nil
}

// Account has what one request takes.
type Account struct {
	budget *Budget
	user   string
	stream *stream // of a watch, nil for other requests

	// The lock of the budget guards the rest.
	total  int64
	closed bool
	// largest is the size of the largest single object that the request has read. Requests
	// read one after the other, and drop it.
	largest int64
}

// Close returns everything to the budget. It is called once.
func (a *Account) Close() {
	b := a.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	b.returnBytes(a, a.total)
	a.closed = true
	b.accounts--
	if b.ofUser[a.user]--; b.ofUser[a.user] == 0 {
		delete(b.ofUser, a.user)
	}
}

// tryAdd adds size bytes if the budget allows it now.
func (a *Account) tryAdd(size int64) bool {
	a.budget.mu.Lock()
	defer a.budget.mu.Unlock()
	return a.budget.add(a, size)
}

// returnBytes returns size bytes to the budget.
func (a *Account) returnBytes(size int64) {
	a.budget.mu.Lock()
	defer a.budget.mu.Unlock()
	a.budget.returnBytes(a, size)
}

// add adds size bytes, after a delay if necessary. It returns a status with code 429 if the delay would be too
// long.
func (a *Account) add(ctx context.Context, size int64) error {
	b := a.budget
	b.mu.Lock()
	if a.closed {
		b.mu.Unlock()
		return context.Canceled
	}
	if b.add(a, size) {
		b.mu.Unlock()
		return nil
	}
	w := &waiter{account: a, size: size, granted: make(chan struct{})}
	b.waiting = append(b.waiting, w)
	b.mu.Unlock()

	shortRequestsTotal().WithLabelValues("delayed").Inc()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	var err error
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-limit.C:
		err = newTooManyRequests()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	at := slices.Index(b.waiting, w)
	if at < 0 {
		return nil // It was granted in the meantime.
	}
	b.waiting = slices.Delete(b.waiting, at, at+1)
	if ctx.Err() == nil {
		shortRequestsTotal().WithLabelValues("denied").Inc()
	}
	return err
}

// aboveLargest returns by how many bytes a single object is larger than those that the request has read.
func (a *Account) aboveLargest(size int64) int64 {
	a.budget.mu.Lock()
	defer a.budget.mu.Unlock()
	return max(size-a.largest, 0)
}

// setLargest records the size of a single object.
func (a *Account) setLargest(size int64) {
	a.budget.mu.Lock()
	defer a.budget.mu.Unlock()
	a.largest = max(a.largest, size)
}

// counted returns how much of the total of an account counts.
func counted(total int64) int64 { return max(total-smallRequest, 0) }

// add adds size bytes to an account, and reports whether the budget allows it. The caller holds the lock.
func (b *Budget) add(a *Account, size int64) bool {
	more := counted(a.total+size) - counted(a.total)
	exceeds := b.used > b.limit()-more
	switch {
	case a.closed:
		return false
	case a == b.exceeding, more == 0:
	case !exceeds:
		b.used += more
	case b.exceeding == nil:
		b.exceeding, b.used = a, b.used-counted(a.total)
		defer b.grant()
	default:
		return false
	}
	a.total += size
	return true
}

// returnBytes removes size bytes from an account. The caller holds the lock.
func (b *Budget) returnBytes(a *Account, size int64) {
	size = min(size, a.total)
	less := counted(a.total) - counted(a.total-size)
	a.total -= size
	if a != b.exceeding {
		b.used -= less
	} else if counted(a.total) == 0 {
		b.exceeding = nil
	}
	b.grant()
}

// grant gives those who wait what the budget allows now. The caller holds the lock.
func (b *Budget) grant() {
	waiting := b.waiting
	b.waiting = nil
	for _, w := range waiting {
		if b.add(w.account, w.size) {
			close(w.granted)
		} else {
			b.waiting = append(b.waiting, w)
		}
	}
}

// isShort reports whether a request waits for memory.
func (b *Budget) isShort() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting) > 0
}

// newTooManyRequests returns the error that a client gets whose request waited in vain.
func newTooManyRequests() *apierrors.StatusError {
	return apierrors.NewTooManyRequests("the requests of the clients of this cluster take up the memory that its control plane has for them. "+
		"Try again, list with a limit, or ask the operator to raise controlPlane.statefulSet.resources.limits.memory", 1)
}
