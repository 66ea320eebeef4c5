package autoscale

import (
	"math"
	"time"
)

// tolerance is the share by which the load may miss the target without a change. It is that
// of the HorizontalPodAutoscaler.
const tolerance = 0.1

// Limits are the bounds of a decision.
type Limits struct {
	// Min and Max bound the number of replicas.
	Min, Max int
	// Target is the number of requests per second and replica.
	Target float64
	// Up and Down are how long the load must ask for more, and for fewer, replicas.
	Up, Down time.Duration
}

// load is what the replicas have reported.
type load struct {
	// current is the number of replicas that the workload is to have.
	current int
	// rate is the sum of the requests per second.
	rate float64
	// missing is how many of the replicas have reported nothing lately.
	missing int
}

// recommend returns how many replicas the load asks for at this moment. Without any report it
// keeps the number within the bounds.
func recommend(l load, limits Limits) int {
	return min(max(l.wanted(limits.Target), limits.Min), limits.Max)
}

// wanted returns how many replicas the load asks for, without bounds. A replica without a
// report counts as idle if the others ask for more, and as busy if they ask for fewer.
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

// replicasFor returns the number of replicas that rate needs, and current within the tolerance.
func replicasFor(rate, target float64, current int) int {
	if math.Abs(rate/(target*float64(current))-1) <= tolerance {
		return current
	}
	return int(math.Ceil(min(rate/target, math.MaxInt32)))
}

// history has the recommendations of the last time.
type history struct {
	past []recommendation
}

// recommendation is a number of replicas that was asked for.
type recommendation struct {
	time  time.Time
	count int
}

// stabilize records a recommendation and returns the number to set. It is more than current
// only if all recommendations within limits.Up ask for that many, and less only if all within
// limits.Down do.
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
