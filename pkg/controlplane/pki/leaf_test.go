package pki

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	testingclock "k8s.io/utils/clock/testing"
)

func TestLeafRenewsItself(t *testing.T) {
	t.Parallel()
	b, clock := bundle(t), testingclock.NewFakeClock(start)
	leaf, err := NewLeaf(clock, func(now time.Time) (Pair, error) { return b.Client(now, "admin") })
	if err != nil {
		t.Fatal(err)
	}
	renewed := make(chan struct{}, 10)
	leaf.OnRenewal(func() { renewed <- struct{}{} })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go leaf.Run(ctx, nil)

	first := leaf.Current()
	for i := range 3 {
		before := leaf.Current()
		waiting(t, clock)
		clock.SetTime(before.RenewAt().Add(-time.Second))
		waiting(t, clock)
		select {
		case <-renewed:
			t.Fatalf("renewal %d came too early", i)
		default:
		}
		clock.SetTime(before.RenewAt())
		<-renewed
		after := leaf.Current()
		if !after.NotAfter.After(before.NotAfter) || bytes.Equal(after.Cert, before.Cert) {
			t.Fatalf("renewal %d: ends %s, before %s", i, after.NotAfter, before.NotAfter)
		}
		if !clock.Now().Before(before.NotAfter) {
			t.Fatalf("renewal %d came after the end of the certificate", i)
		}
	}
	if leaf.Current().NotAfter.Sub(first.NotAfter) < LeafValidity {
		t.Error("three renewals did not carry the certificate past its first life")
	}
}

// jumpingClock is a clock that somebody sets. Its timers do not jump.
type jumpingClock struct {
	*testingclock.FakeClock

	ahead atomic.Int64
}

func (c *jumpingClock) Now() time.Time { return c.FakeClock.Now().Add(time.Duration(c.ahead.Load())) }

func TestLeafAfterWrongClock(t *testing.T) {
	t.Parallel()
	b, clock := bundle(t), &jumpingClock{FakeClock: testingclock.NewFakeClock(start)}
	clock.ahead.Store(int64(time.Hour))
	leaf, err := NewLeaf(clock, func(now time.Time) (Pair, error) { return b.Client(now, "admin") })
	if err != nil {
		t.Fatal(err)
	}
	renewed := make(chan struct{}, 1)
	leaf.OnRenewal(func() { renewed <- struct{}{} })
	go leaf.Run(t.Context(), nil)

	waiting(t, clock.FakeClock)
	clock.Step(clockCheck)
	waiting(t, clock.FakeClock)
	if len(renewed) > 0 {
		t.Error("a certificate was renewed that is valid by this clock")
	}
	clock.ahead.Store(0)
	clock.Step(clockCheck)
	<-renewed
	if got := leaf.Current(); got.NotBefore.After(clock.Now()) {
		t.Errorf("the certificate is valid from %s, the time is %s", got.NotBefore, clock.Now())
	}
}

// TestLeafRenewsNow issues a certificate before its time, as for other names.
func TestLeafRenewsNow(t *testing.T) {
	t.Parallel()
	b, clock, name := bundle(t), testingclock.NewFakeClock(start), atomic.Pointer[string]{}
	set := func(text string) { name.Store(&text) }
	set("first")
	leaf, err := NewLeaf(clock, func(now time.Time) (Pair, error) { return b.Client(now, *name.Load()) })
	if err != nil {
		t.Fatal(err)
	}
	renewed := make(chan struct{}, 10)
	leaf.OnRenewal(func() { renewed <- struct{}{} })
	set("second")
	leaf.Renew()
	leaf.Renew()
	go leaf.Run(t.Context(), nil)
	<-renewed
	if got := parse(t, leaf.Current().Cert).Subject.CommonName; got != "second" {
		t.Errorf("it is of %s", got)
	}
}

func TestLeafTriesAgain(t *testing.T) {
	t.Parallel()
	b, clock := bundle(t), testingclock.NewFakeClock(start)
	broken := false
	leaf, err := NewLeaf(clock, func(now time.Time) (Pair, error) {
		if broken {
			broken = false
			return Pair{}, errors.New("no entropy")
		}
		return b.Client(now, "admin")
	})
	if err != nil {
		t.Fatal(err)
	}
	failed, renewed := make(chan error, 1), make(chan struct{}, 1)
	leaf.OnRenewal(func() { renewed <- struct{}{} })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	broken = true
	go leaf.Run(ctx, func(err error) { failed <- err })

	first := leaf.Current()
	waiting(t, clock)
	clock.SetTime(first.RenewAt())
	if err := <-failed; !strings.Contains(err.Error(), "no entropy") {
		t.Errorf("got %v, want the cause", err)
	}
	if !bytes.Equal(leaf.Current().Cert, first.Cert) {
		t.Error("a failed renewal changed the certificate")
	}
	waiting(t, clock)
	clock.Step(retryRenewal)
	<-renewed
}

// waiting returns when somebody waits for the clock.
func waiting(t *testing.T, clock *testingclock.FakeClock) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !clock.HasWaiters() {
		if time.Now().After(deadline) {
			t.Fatal("nobody waits for the clock")
		}
		time.Sleep(time.Millisecond)
	}
}
