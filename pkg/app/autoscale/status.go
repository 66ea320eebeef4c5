package autoscale

import (
	"fmt"
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/meter"
)

// autoscalingMetrics are the metrics of the process.
type autoscalingMetrics struct {
	rate, target, wanted *metrics.Gauge
	scaled               *metrics.CounterVec
}

var processMetrics = sync.OnceValue(func() autoscalingMetrics { //nolint:gochecknoglobals // a metric is one per process
	return autoscalingMetrics{
		rate:   meter.Gauge("sublet_autoscaling_requests_per_second", "API requests per second of all replicas, on the leader."),
		target: meter.Gauge("sublet_autoscaling_target_requests_per_second", "Requests per second and replica that the leader holds."),
		wanted: meter.Gauge("sublet_autoscaling_wanted_replicas", "Replicas that the rate asks for, before the stabilization window."),
		scaled: meter.CounterVec("sublet_autoscaling_scaled_total", "Changes of the number of replicas.", "result"),
	}
})

// status is the state of the scaler for Checks.
type status struct {
	leads     bool
	decided   bool
	load      load
	asked     int // replicas before the stabilization window
	count     int
	lastError string
}

func (s *Scaler) set(change func(*status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.status)
}

// observe records a decision.
func (s *Scaler) observe(l load, asked, count int) {
	m := processMetrics()
	m.rate.Set(l.rate)
	m.target.Set(s.Limits.Target)
	m.wanted.Set(float64(asked))
	s.set(func(st *status) { st.decided, st.load, st.asked, st.count = true, l, asked, count })
}

// recordScaled records a change of the number of replicas.
func (s *Scaler) recordScaled(l load, count int) {
	result := "up"
	if count < l.current {
		result = "down"
	}
	processMetrics().scaled.WithLabelValues(result).Inc()
	klog.InfoS("Scaled the control plane", "from", l.current, "to", count, "requestsPerSecond", l.rate, "target", s.Limits.Target)
	s.set(func(st *status) { st.lastError = "" })
	if s.Recorded != nil {
		s.Recorded(Outcome{Message: fmt.Sprintf("Scaled from %d to %d replicas, for %.1f requests per second and a target of %g each.",
			l.current, count, l.rate, s.Limits.Target)})
	}
}

// recordFailure records why the number of replicas could not be changed. A repeated reason is
// logged only once.
func (s *Scaler) recordFailure(err error) {
	processMetrics().scaled.WithLabelValues("error").Inc()
	repeated := false
	s.set(func(st *status) { repeated, st.lastError = st.lastError == err.Error(), err.Error() })
	if repeated {
		return
	}
	klog.ErrorS(err, "Cannot scale the control plane, retrying")
	if s.Recorded != nil {
		s.Recorded(Outcome{Failed: true, Message: err.Error()})
	}
}

// Checks returns the health of the scaler on the leader, and nothing on other replicas.
func (s *Scaler) Checks() []syncz.Check {
	s.mu.Lock()
	st := s.status
	s.mu.Unlock()
	if !st.leads {
		return nil
	}
	check := syncz.Check{Name: "autoscaling", Healthy: true, Message: "The number of replicas follows the requests per second."}
	if st.lastError != "" {
		check.Healthy, check.Message = false, "The number of replicas cannot follow the requests per second."
		check.Details = append(check.Details, st.lastError)
	}
	if !st.decided {
		return []syncz.Check{check}
	}
	check.Details = append(check.Details, fmt.Sprintf("%.1f requests per second on %d replicas, target %g each, from %d to %d replicas",
		st.load.rate, st.load.current, s.Limits.Target, s.Limits.Min, s.Limits.Max))
	if st.asked != st.count {
		check.Details = append(check.Details, fmt.Sprintf("the rate asks for %d replicas: waiting for the stabilization window", st.asked))
	}
	if st.load.missing > 0 {
		check.Details = append(check.Details, fmt.Sprintf("%d replicas have reported no rate in the last %s", st.load.missing, staleAfter))
	}
	return []syncz.Check{check}
}
