package controlplane

import (
	"context"
	"strings"
	"testing"
	"time"

	testingclock "k8s.io/utils/clock/testing"
)

func TestStartGuard(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		// readyAfter is the number of probes until the server is ready.
		readyAfter int
		// step is how much time each probe takes.
		step time.Duration
		// checks and moves return what the n-th probe sees.
		checks func(n int) string
		moves  func(n int) int64
		want   string
	}{
		"SlowButMoving": {
			reason:     "a start of many hours that makes progress is no failure",
			readyAfter: 200, step: standstill / 2,
			checks: func(int) string { return "bootstrap" }, moves: func(n int) int64 { return int64(n) },
		},
		"ChecksChange": {
			reason:     "a check that passes is progress, too",
			readyAfter: 20, step: standstill / 2,
			checks: func(n int) string { return strings.Repeat("x", n+1) }, moves: func(int) int64 { return 0 },
		},
		"Standstill": {
			reason:     "a start that nothing moves any more ends and names what it waits for",
			readyAfter: 1000, step: standstill / 10,
			checks: func(int) string { return "informers" }, moves: func(int) int64 { return 0 },
			want: "informers",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := testingclock.NewFakePassiveClock(time.Now())
			n := 0
			guard := &startGuard{
				clock: clock,
				moves: func() int64 { return tc.moves(n) },
				probe: func(context.Context) []string {
					clock.SetTime(clock.Now().Add(tc.step))
					if n++; n > tc.readyAfter {
						return nil
					}
					return []string{tc.checks(n)}
				},
			}
			err := guard.await(t.Context())
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("%s: got %v, want no error", tc.reason, err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("%s: got %v, want an error with %q", tc.reason, err, tc.want)
			}
			if check := guard.check(); check.Healthy != (tc.want == "") {
				t.Errorf("check: got healthy %v", check.Healthy)
			}
		})
	}
}

func TestFailingChecks(t *testing.T) {
	t.Parallel()
	body := "[+]ping ok\n[-]poststarthook/sublet/bootstrap failed: reason withheld\n[-]etcd failed: reason withheld\nreadyz check failed\n"
	if got, want := strings.Join(failingChecks(body), " "), "poststarthook/sublet/bootstrap etcd"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
