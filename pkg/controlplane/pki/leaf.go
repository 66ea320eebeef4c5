package pki

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

const (
	// retryRenewal is the pause after a renewal that failed.
	retryRenewal = time.Minute
	// clockCheck is how often a certificate is compared with the clock, which somebody may set.
	clockCheck = time.Minute
)

// A Leaf is a certificate that renews itself: Run issues a new one whenever two
// thirds of the current one's life are over. It also does so if the clock was set back, so that
// the current one is not valid yet.
type Leaf struct {
	clock clock.WithTicker
	issue func(now time.Time) (Pair, error)

	due chan struct{} // has an element if Run is to issue a new one now

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
	return &Leaf{clock: c, issue: issue, due: make(chan struct{}, 1), current: first}, nil
}

// Current returns the certificate that is valid now.
func (l *Leaf) Current() Pair {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.current
}

// Renew lets Run issue a new certificate now, as for other names.
func (l *Leaf) Renew() {
	select {
	case l.due <- struct{}{}:
	default: // Run is about to do so.
	}
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
	wait, failing := l.untilDue(), false
	for {
		if wait > 0 {
			timer := l.clock.NewTimer(min(wait, clockCheck))
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C():
				if wait = l.untilDue(); wait > 0 && !failing {
					continue
				}
			case <-l.due:
				timer.Stop()
			}
		}
		next, err := l.issue(l.clock.Now())
		if err != nil {
			if failed != nil {
				failed(fmt.Errorf("cannot renew a certificate, trying again in %s: %w", retryRenewal, err))
			}
			wait, failing = retryRenewal, true
			continue
		}
		l.replace(next)
		wait, failing = max(l.untilDue(), retryRenewal), false
	}
}

// untilDue returns how long the certificate is good, 0 if it has to be renewed. One that is
// not valid yet was issued while the clock was wrong, and nobody would accept it.
func (l *Leaf) untilDue() time.Duration {
	current, now := l.Current(), l.clock.Now()
	if now.Before(current.NotBefore) {
		return 0
	}
	return max(current.RenewAt().Sub(now), 0)
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
