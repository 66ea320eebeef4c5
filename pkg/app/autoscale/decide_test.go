package autoscale

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestRecommend(t *testing.T) {
	t.Parallel()
	limits := Limits{Min: 1, Max: 5, Target: 20}
	for reason, tc := range map[string]struct {
		load   load
		limits Limits
		want   int
	}{
		"the load is the target":                        {load{current: 2, rate: 40}, limits, 2},
		"ten percent more is tolerated":                 {load{current: 2, rate: 43.9}, limits, 2},
		"more than that is not":                         {load{current: 2, rate: 44.1}, limits, 3},
		"ten percent less is tolerated":                 {load{current: 3, rate: 54}, limits, 3},
		"less than that, which still needs all":         {load{current: 3, rate: 53}, limits, 3},
		"one replica less is enough":                    {load{current: 3, rate: 40}, limits, 2},
		"a part of a replica is a replica":              {load{current: 1, rate: 61}, limits, 4},
		"no requests":                                   {load{current: 4}, limits, 1},
		"the largest number":                            {load{current: 1, rate: 1e6}, limits, 5},
		"a rate beyond all numbers":                     {load{current: 1, rate: 1e300}, limits, 5},
		"the least number":                              {load{current: 3}, Limits{Min: 2, Max: 5, Target: 20}, 2},
		"fewer than the least, without load":            {load{current: 1}, Limits{Min: 2, Max: 5, Target: 20}, 2},
		"more than the largest, within tolerance":       {load{current: 7, rate: 140}, limits, 5},
		"nobody has reported":                           {load{current: 3, missing: 3}, limits, 3},
		"nobody has reported, beyond bounds":            {load{current: 9, missing: 9}, limits, 5},
		"a new replica counts as idle while load grows": {load{current: 2, rate: 100, missing: 1}, limits, 5},
		"a silent replica counts as busy otherwise":     {load{current: 3, rate: 40, missing: 1}, limits, 3},
		"even so, fewer are enough":                     {load{current: 4, rate: 2, missing: 1}, limits, 2},
		"a silent replica never adds another":           {load{current: 2, rate: 35, missing: 1}, limits, 2},
	} {
		if got := recommend(tc.load, tc.limits); got != tc.want {
			t.Errorf("%s: got %d replicas, want %d", reason, got, tc.want)
		}
	}
}

func TestStabilize(t *testing.T) {
	t.Parallel()
	type step struct {
		after          time.Duration // since the step before
		current, asked int
		want           int
	}
	for reason, tc := range map[string]struct {
		limits Limits
		steps  []step
	}{
		"without windows, it follows at once": {
			Limits{},
			[]step{{0, 1, 3, 3}, {time.Second, 3, 1, 1}, {0, 1, 2, 2}},
		},
		"fewer only if all of the window agree": {
			Limits{Down: time.Minute},
			[]step{{0, 3, 3, 3}, {30 * time.Second, 3, 1, 3}, {30 * time.Second, 3, 2, 2}, {time.Minute, 2, 1, 1}},
		},
		"a short peak keeps the number for a window": {
			Limits{Down: time.Minute},
			[]step{{0, 1, 3, 3}, {10 * time.Second, 3, 1, 3}, {49 * time.Second, 3, 1, 3}, {time.Second, 3, 1, 1}},
		},
		"more only if all of the window agree": {
			Limits{Up: time.Minute},
			[]step{{0, 1, 1, 1}, {30 * time.Second, 1, 3, 1}, {30 * time.Second, 1, 4, 3}},
		},
		"between the windows it stays": {
			Limits{Up: time.Minute, Down: time.Minute},
			[]step{{0, 2, 2, 2}, {time.Second, 2, 4, 2}, {time.Second, 2, 1, 2}},
		},
	} {
		now, h := time.Unix(0, 0), history{}
		for i, s := range tc.steps {
			now = now.Add(s.after)
			if got := h.stabilize(now, s.current, s.asked, tc.limits); got != s.want {
				t.Errorf("%s: step %d: got %d replicas, want %d", reason, i, got, s.want)
			}
		}
	}
}

// TestDecisionsStayInBounds draws loads and checks each decision.
func TestDecisionsStayInBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{
			Min: rapid.IntRange(1, 5).Draw(t, "min"), Target: rapid.Float64Range(1, 1000).Draw(t, "target"),
			Up:   time.Duration(rapid.IntRange(0, 120).Draw(t, "up")) * time.Second,
			Down: time.Duration(rapid.IntRange(0, 120).Draw(t, "down")) * time.Second,
		}
		limits.Max = limits.Min + rapid.IntRange(0, 5).Draw(t, "above")
		now, h, current := time.Unix(0, 0), history{}, limits.Min
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(Period)
			l := load{current: current, rate: rapid.Float64Range(0, 1e5).Draw(t, "rate"), missing: rapid.IntRange(0, current).Draw(t, "missing")}
			asked := recommend(l, limits)
			count := h.stabilize(now, current, asked, limits)
			if count < limits.Min || count > limits.Max {
				t.Fatalf("%d replicas are not from %d to %d", count, limits.Min, limits.Max)
			}
			if count > max(current, asked) || count < min(current, asked) {
				t.Fatalf("%d replicas are not between %d and %d", count, current, asked)
			}
			if keep := int(max(limits.Up, limits.Down)/Period) + 1; len(h.past) > keep {
				t.Fatalf("%d recommendations are kept, want at most %d", len(h.past), keep)
			}
			current = count
		}
	})
}
