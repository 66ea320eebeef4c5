package consistency

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
)

// at returns an operation that lasted from one second to another.
func at(call, back int, o registerOperation) registerOperation {
	o.call, o.back = time.Duration(call)*time.Second, time.Duration(back)*time.Second
	return o
}

func read(value int) registerOperation { return registerOperation{kind: readRegister, to: value} }

func write(value int, o outcome) registerOperation {
	return registerOperation{kind: writeRegister, to: value, outcome: o}
}

func swap(from, to int, o outcome) registerOperation {
	return registerOperation{kind: swapRegister, from: from, to: to, outcome: o}
}

func withVersion(o registerOperation, version uint64) registerOperation {
	o.version = version
	return o
}

func TestCheckRegister(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason  string
		history []registerOperation
		want    string // part of the error, empty if the history is good
	}{
		{"an empty history is good", nil, ""},
		{"a read sees the last write", []registerOperation{at(1, 2, write(1, acknowledged)), at(3, 4, read(1))}, ""},
		{"a lost write", []registerOperation{at(1, 2, write(1, acknowledged)), at(3, 4, read(0))}, "not linearizable"},
		{"a read during a write sees either", []registerOperation{at(1, 5, write(1, acknowledged)), at(2, 3, read(0)), at(3, 4, read(1))}, ""},
		{"what was read is not unread", []registerOperation{at(1, 9, write(1, acknowledged)), at(2, 3, read(1)), at(4, 5, read(0))}, "not linearizable"},
		{"a write without an answer may take effect late", []registerOperation{at(1, 2, write(1, unknown)), at(3, 4, read(0)), at(5, 6, read(1))}, ""},
		{"or never", []registerOperation{at(1, 2, write(1, unknown)), at(3, 4, read(0))}, ""},
		{"but not before it was sent", []registerOperation{at(1, 2, read(1)), at(3, 4, write(1, unknown))}, "not linearizable"},
		{"and only once", []registerOperation{
			at(1, 2, write(1, unknown)), at(3, 4, read(1)), at(5, 6, write(2, acknowledged)), at(7, 8, read(1)),
		}, "not linearizable"},
		{"of two swaps of one version, one succeeds", []registerOperation{
			at(1, 3, swap(0, 1, acknowledged)), at(2, 4, swap(0, 2, conflicted)), at(5, 6, read(1)),
		}, ""},
		{"two leaders that both swap", []registerOperation{
			at(1, 3, swap(0, 1, acknowledged)), at(2, 4, swap(0, 2, acknowledged)),
		}, "not linearizable"},
		{"a conflict with nobody", []registerOperation{at(1, 2, swap(0, 1, conflicted))}, "not linearizable"},
		{"a conflict with a swap that was not answered", []registerOperation{
			at(1, 2, swap(0, 1, unknown)), at(3, 4, swap(0, 2, conflicted)),
		}, ""},
		{"a swap that was not answered and meets another version does nothing", []registerOperation{
			at(1, 2, swap(0, 1, unknown)), at(3, 4, write(2, acknowledged)), at(5, 6, read(2)), at(7, 8, read(1)),
		}, "not linearizable"},
		{"two swaps after each other", []registerOperation{at(1, 2, swap(0, 1, acknowledged)), at(3, 4, swap(1, 2, acknowledged))}, ""},
		{"a register that has gone", []registerOperation{at(1, 2, read(-1))}, "not linearizable"},
		{"versions grow", []registerOperation{at(1, 2, withVersion(write(1, acknowledged), 7)), at(3, 4, withVersion(read(1), 7))}, ""},
		{"a version that goes back", []registerOperation{
			at(1, 2, withVersion(write(1, acknowledged), 7)), at(3, 4, withVersion(read(1), 6)),
		}, "went back from 7 to 6"},
	} {
		err := checkRegister(c.history, time.Minute)
		if !hasText(err, c.want) {
			t.Errorf("%s: got %v, want %q", c.reason, err, c.want)
		}
	}
}

// hasText reports whether the error has the text, or is nil if that is empty.
func hasText(err error, text string) bool {
	if err == nil || text == "" {
		return err == nil && text == ""
	}
	return strings.Contains(err.Error(), text)
}

func TestCheckList(t *testing.T) {
	t.Parallel()
	create := func(call, back int, o outcome) []element {
		return []element{{name: "a", outcome: o, version: 5, call: time.Duration(call), back: time.Duration(back)}}
	}
	has := map[string]bool{"a": true}
	for _, c := range []struct {
		reason   string
		elements []element
		list     list
		want     string
	}{
		{"an acknowledged element is listed", create(1, 2, acknowledged), list{has, 5, 3, 4}, ""},
		{"a lost element", create(1, 2, acknowledged), list{nil, 5, 3, 4}, "lacks 1"},
		{"a list at the same time may lack it", create(1, 4, acknowledged), list{nil, 4, 2, 3}, ""},
		{"a list at the same time may have it", create(1, 4, acknowledged), list{has, 5, 2, 3}, ""},
		{"without an answer it may be there", create(1, 2, unknown), list{has, 5, 3, 4}, ""},
		{"without an answer it may be missing", create(1, 2, unknown), list{nil, 5, 3, 4}, ""},
		{"an element before its time", create(5, 6, acknowledged), list{has, 5, 3, 4}, "1 that cannot exist"},
		{"an element that was refused", create(1, 2, failed), list{has, 5, 3, 4}, "1 that cannot exist"},
		{"an old version", create(1, 2, acknowledged), list{has, 4, 3, 4}, "after 5 was acknowledged"},
	} {
		if err := c.list.check(c.elements); !hasText(err, c.want) {
			t.Errorf("%s: got %v, want %q", c.reason, err, c.want)
		}
	}
	if err := NewSet("empty", Options{}).Check(); !hasText(err, "never listed") {
		t.Errorf("a check of nothing: got %v", err)
	}
}

func TestOutcomeOf(t *testing.T) {
	t.Parallel()
	resource := corev1.Resource("configmaps")
	for _, c := range []struct {
		reason string
		err    error
		want   outcome
	}{
		{"an answer", nil, acknowledged},
		{"another version", apierrors.NewConflict(resource, "a", errors.New("changed")), conflicted},
		{"nobody listened", fmt.Errorf("Put: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), failed},
		{"no replica was ready", errNoReplica, failed},
		{"too many requests", apierrors.NewTooManyRequestsError("busy"), failed},
		{"the connection broke", &net.OpError{Op: "read", Err: syscall.ECONNRESET}, unknown},
		{"no answer in time", context.DeadlineExceeded, unknown},
		{"the server's own time was over", apierrors.NewTimeoutError("late", 1), unknown},
		{"the store had an error", apierrors.NewInternalError(errors.New("etcdserver: leader changed")), unknown},
		{"a name that is taken", apierrors.NewAlreadyExists(resource, "a"), unknown},
	} {
		if got := outcomeOf(c.err); got != c.want {
			t.Errorf("%s: got %v, want %v", c.reason, got, c.want)
		}
	}
}

// TestWorkloads runs both workloads against a fake API, which has no versions to compare.
func TestWorkloads(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset()
	var calls atomic.Int32
	enough := func() {}
	o := Options{Pause: time.Millisecond, Clients: 2, Seed: 1, Pick: func() kubernetes.Interface {
		n := calls.Add(1)
		if n%100 == 0 {
			enough()
		}
		if n%5 == 0 {
			return nil
		}
		return client
	}}
	registers, set := NewRegisters(o), NewSet("set", o)
	if err := registers.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	enough = cancel
	set.Run(ctx)
	if err := set.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	enough = cancel
	registers.Run(ctx)
	if registers.Outcomes().Acknowledged == 0 || set.Outcomes().Acknowledged == 0 {
		t.Errorf("registers %+v, set %+v", registers.Outcomes(), set.Outcomes())
	}
}

func TestLongestGap(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ago := func(hours int) time.Time { return now.Add(-time.Duration(hours) * time.Hour) }
	p := NewPulse("pulse", Options{})
	p.beats = []time.Time{ago(100), ago(60), ago(50), ago(30), ago(29)}
	for _, c := range []struct {
		reason string
		since  time.Time
		want   int
	}{
		{"the longest of all", ago(100), 40},
		{"one that began before", ago(45), 29},
		{"one that has not ended", ago(10), 29},
	} {
		if got := int(p.LongestGap(c.since).Round(time.Hour).Hours()); got != c.want {
			t.Errorf("%s: got %d h, want %d h", c.reason, got, c.want)
		}
	}
}

func TestPulse(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var calls atomic.Int32
	p := NewPulse("pulse", Options{Pause: time.Millisecond, Pick: func() kubernetes.Interface {
		if calls.Add(1) == 20 {
			cancel()
		}
		return client
	}})
	if err := p.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.Run(ctx)
	if len(p.Delays()) == 0 {
		t.Error("it has written nothing")
	}
}
