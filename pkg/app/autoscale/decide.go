package autoscale

import (
	"math"
	"time"
)

// tolerance is the deviation from the target that causes no change. It is the default of the
// HorizontalPodAutoscaler.
const tolerance = 0.1

// Limits are the settings of a decision.
type Limits struct {
	// Min and Max bound the number of replicas.
	Min, Max int
	// Target is the number of requests per second and replica.
	Target float64
	// Up and Down are the stabilization windows: how long the load must ask for more, or for
	// fewer, replicas.
	Up, Down time.Duration
}

// load is the sum of the replicas' reports.
type load struct {
	// current is spec.replicas of the workload.
	current int
	// rate is the sum of the requests per second.
	rate float64
	// missing is the number of replicas without a recent report.
	missing int
}

// recommend returns the number of replicas for the load, within the limits. Without any report
// that is the current number.
func recommend(l load, limits Limits) int {
	return min(max(l.wanted(limits.Target), limits.Min), limits.Max)
}

// wanted returns the number of replicas for the load, without limits. A replica without a report
// counts as idle if the others ask for more replicas, and as fully busy if they ask for fewer.
func (l load) wanted(target float64) int {
	if l.missing >= l.current {
		return l.current
	}
	count := replicasFor(l.rate, target, l.current)
	if count >= l.current || l.missing == 0 {
		return count
	}
	return min(replicasFor(l.rate+float64(l.missing)*target, target, l.current), l.current)
}

// replicasFor returns the number of replicas for a rate. It returns current if the rate is
// within the tolerance.
func replicasFor(rate, target float64, current int) int {
	if math.Abs(rate/(target*float64(current))-1) <= tolerance {
		return current
	}
	return int(math.Ceil(min(rate/target, math.MaxInt32)))
}

// history has the recommendations within the stabilization windows.
type history struct {
	past []recommendation
}

// recommendation is a number of replicas that was recommended at some time.
type recommendation struct {
	time  time.Time
	count int
}

// stabilize records a recommendation and returns the number of replicas to set. It scales up
// only as far as all recommendations within limits.Up ask for, and down only as far as all
// within limits.Down do.
func (h *history) stabilize(now time.Time, current, count int, limits Limits) int {
	least, most := count, count
	kept := h.past[:0]
	for _, r := range h.past {
		age := now.Sub(r.time)
		if age < limits.Up {
			least = min(least, r.count)
		}
		if age < limits.Down {
			most = max(most, r.count)
		}
		if age < max(limits.Up, limits.Down) {
			kept = append(kept, r)
		}
	}
	kept = append(kept, recommendation{now, count})
	h.past = kept
	return min(max(current, least), most)
}
