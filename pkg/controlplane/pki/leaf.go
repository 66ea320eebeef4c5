package pki

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// retryRenewal is the pause after a renewal that failed.
const retryRenewal = time.Minute

// A Leaf is a certificate that renews itself: Run issues a new one whenever two
// thirds of the current one's life are over.
type Leaf struct {
	clock clock.WithTicker
	issue func(now time.Time) (Pair, error)

	mu      sync.RWMutex
	current Pair
	notify  []func()
}

// NewLeaf issues a first certificate with issue, which Run calls again for
// every renewal.
func NewLeaf(c clock.WithTicker, issue func(now time.Time) (Pair, error)) (*Leaf, error) {
	first, err := issue(c.Now())
	if err != nil {
		return nil, err
	}
	return &Leaf{clock: c, issue: issue, current: first}, nil
}

// Current returns the certificate that is valid now.
func (l *Leaf) Current() Pair {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.current
}

// OnRenewal calls f after every renewal, from the goroutine of Run.
func (l *Leaf) OnRenewal(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notify = append(l.notify, f)
}

// Run renews the certificate until the context ends. A renewal that fails is
// reported to failed, if it is not nil, and tried again a minute later.
func (l *Leaf) Run(ctx context.Context, failed func(error)) {
	wait := l.Current().RenewAt().Sub(l.clock.Now())
	for {
		timer := l.clock.NewTimer(max(wait, 0))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		}
		next, err := l.issue(l.clock.Now())
		if err != nil {
			if failed != nil {
				failed(fmt.Errorf("cannot renew a certificate, trying again in %s: %w", retryRenewal, err))
			}
			wait = retryRenewal
			continue
		}
		l.replace(next)
		wait = max(next.RenewAt().Sub(l.clock.Now()), retryRenewal)
	}
}

func (l *Leaf) replace(next Pair) {
	l.mu.Lock()
	l.current = next
	notify := append([]func(){}, l.notify...)
	l.mu.Unlock()
	for _, f := range notify {
		f()
	}
}
