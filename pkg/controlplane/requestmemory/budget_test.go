package requestmemory

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const mib = 1 << 20

// newBudget returns a budget of 10 MiB.
func newBudget() *Budget { return NewBudget(func() int64 { return 10 * mib }) }

// newAccount returns an account of a budget.
func newAccount(t *testing.T, b *Budget) *Account {
	t.Helper()
	account, err := b.NewAccount("tenant")
	if err != nil {
		t.Fatal(err)
	}
	return account
}

// TestMostRequests begins requests of some users until there are too many.
func TestMostRequests(t *testing.T) {
	t.Parallel()
	b := NewBudget(func() int64 { return 4 * smallRequest })
	begin := func(user string) (end func(), isDenied bool) {
		account, err := b.NewAccount(user)
		if err != nil {
			return nil, apierrors.IsTooManyRequests(err)
		}
		return account.Close, false
	}
	end, _ := begin("a")
	begin("a")
	if _, isDenied := begin("a"); !isDenied {
		t.Error("a user may take half of the requests")
	}
	if _, isDenied := begin("b"); isDenied {
		t.Error("then others have the other half")
	}
	endOther, _ := begin("c")
	if _, isDenied := begin("d"); !isDenied {
		t.Error("all users may take as many as there are")
	}
	endOther()
	if _, isDenied := begin("a"); !isDenied {
		t.Error("the end of one user's request helped another user")
	}
	end()
	if _, isDenied := begin("a"); isDenied {
		t.Error("a request that ended makes room")
	}
}

// addLater adds size bytes in a goroutine, and returns the channel of the result. It returns once the
// goroutine waits or has ended.
func addLater(t *testing.T, account *Account, size int64) <-chan error {
	t.Helper()
	result := make(chan error, 1)
	go func() { result <- account.add(t.Context(), size) }()
	synctest.Wait()
	return result
}

// TestExceeding exceeds the budget with one request, and then with another.
func TestExceeding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		first, second, third, small := newAccount(t, b), newAccount(t, b), newAccount(t, b), newAccount(t, b)
		if !first.tryAdd(8*mib) || !first.tryAdd(30*mib) {
			t.Fatal("one request may exceed the budget")
		}
		if !second.tryAdd(9 * mib) {
			t.Error("it leaves the whole budget to the others")
		}
		if third.tryAdd(2 * mib) {
			t.Error("together they may not exceed it")
		}
		if !small.tryAdd(smallRequest) {
			t.Error("a small request does not count")
		}
		waiting, denied := addLater(t, second, 20*mib), addLater(t, third, 2*mib)
		first.Close()
		if err := <-waiting; err != nil {
			t.Errorf("the next one may exceed the budget then: %v", err)
		}
		if err := <-denied; err != nil {
			t.Errorf("which leaves the budget to the third one: %v", err)
		}
		for _, account := range []*Account{second, third, small} {
			account.Close()
		}
		if b.used != 0 || b.exceeding != nil || len(b.waiting) != 0 {
			t.Errorf("left: used %d, exceeding %v, %d waiting", b.used, b.exceeding, len(b.waiting))
		}
	})
}

// TestDenial waits in vain, for memory and with a client that goes away.
func TestDenial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		large, full, late := newAccount(t, b), newAccount(t, b), newAccount(t, b)
		if !large.tryAdd(20*mib) || !full.tryAdd(10*mib) {
			t.Fatal("the budget is free")
		}
		begun := time.Now()
		err := late.add(t.Context(), mib)
		if status, ok := err.(apierrors.APIStatus); !ok || status.Status().Code != http.StatusTooManyRequests {
			t.Errorf("got %v, want code 429", err)
		}
		if delay, ok := apierrors.SuggestsClientDelay(err); !ok || delay != 1 {
			t.Errorf("the client is told to wait %d s, want 1", delay)
		}
		if took := time.Since(begun); took != patience {
			t.Errorf("it waited %v, want %v", took, patience)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := late.add(ctx, mib); !errors.Is(err, context.Canceled) {
			t.Errorf("a client that is gone gets %v", err)
		}
		late.Close()
		if err := late.add(t.Context(), mib); !errors.Is(err, context.Canceled) {
			t.Errorf("an account that is closed gets %v", err)
		}
		if len(b.waiting) != 0 {
			t.Errorf("%d still wait", len(b.waiting))
		}
	})
}

// TestBody reads bodies, one of which is too large at the moment.
func TestBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBudget()
		large := newAccount(t, b)
		if !large.tryAdd(20 * mib) {
			t.Fatal("the budget is free")
		}
		read := func(size int, isCustom bool) error {
			account := newAccount(t, b)
			defer account.Close()
			body := account.Body(t.Context(), io.NopCloser(strings.NewReader(strings.Repeat("x", size))), isCustom)
			got, err := io.ReadAll(body)
			if err == nil && len(got) != size {
				t.Errorf("read %d bytes of %d", len(got), size)
			}
			return err
		}
		for name, tc := range map[string]struct {
			size     int
			isCustom bool
			denied   bool
		}{
			"Body":        {size: 2 * mib},
			"TooLarge":    {size: 3 * mib, denied: true},
			"Custom":      {size: mib / 2, isCustom: true},
			"CustomLarge": {size: mib, isCustom: true, denied: true},
		} {
			if err := read(tc.size, tc.isCustom); apierrors.IsTooManyRequests(err) != tc.denied || err != nil && !tc.denied {
				t.Errorf("%s: %v", name, err)
			}
		}
		large.Close()
		if err := read(3*mib, false); err != nil {
			t.Errorf("when there is memory: %v", err)
		}
	})
}
