package syncer

import (
	"net/http"
	"sync"
	"time"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// meters are the metrics of all engines of the process.
type meters struct {
	latency     *metrics.HistogramVec
	depth       *metrics.GaugeVec
	errors      *metrics.CounterVec
	mismatches  *metrics.CounterVec
	requests    *metrics.CounterVec
	held        *metrics.GaugeVec
	waiting     *metrics.GaugeVec
	unreachable *metrics.Gauge
}

// meter makes and registers the metrics when the first engine needs them.
var meter = sync.OnceValue(func() *meters {
	const subsystem = "sublet_sync"
	perKind := []string{"kind"}
	gauge := func(name, help string) *metrics.GaugeVec {
		return metrics.NewGaugeVec(&metrics.GaugeOpts{Subsystem: subsystem, Name: name, Help: help, StabilityLevel: metrics.ALPHA}, perKind)
	}
	counter := func(name, help string, by []string) *metrics.CounterVec {
		return metrics.NewCounterVec(&metrics.CounterOpts{Subsystem: subsystem, Name: name, Help: help, StabilityLevel: metrics.ALPHA}, by)
	}
	m := &meters{
		latency: metrics.NewHistogramVec(&metrics.HistogramOpts{
			Subsystem: subsystem, Name: "latency_seconds",
			Help:           "Time from the event that made an object differ to the last request that put it right, by kind.",
			Buckets:        []float64{.001, .002, .004, .008, .016, .025, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24},
			StabilityLevel: metrics.ALPHA,
		}, perKind),
		depth:      gauge("queue_depth", "Objects that wait for a reconcile, by kind."),
		errors:     counter("errors_total", "Reconciles that failed, by kind.", perKind),
		mismatches: counter("scan_mismatches_total", "Objects that the full scan found different and no event had announced, by kind.", perKind),
		held:       gauge("held_deletes", "Host objects that should be deleted and are held back by the guard of the virtual store, by kind."),
		waiting:    gauge("waiting", "1 while a kind waits for its first view of both sides, by kind."),
		requests: metrics.NewCounterVec(&metrics.CounterOpts{
			Name: "sublet_host_requests_total", Help: "Requests that the syncer sent to the host's API server, by verb.", StabilityLevel: metrics.ALPHA,
		}, []string{"verb"}),
		unreachable: metrics.NewGauge(&metrics.GaugeOpts{
			Name: "sublet_host_unreachable", Help: "1 while the host's API server cannot be reached.", StabilityLevel: metrics.ALPHA,
		}),
	}
	legacyregistry.MustRegister(m.latency, m.depth, m.errors, m.mismatches, m.held, m.waiting, m.requests, m.unreachable)
	return m
})

// observeLatency notes how long it took from an event to the request that it led to.
func observeLatency(kind string, since time.Duration) {
	meter().latency.WithLabelValues(kind).Observe(since.Seconds())
}

// countHostRequest counts a request to the host.
func countHostRequest(request *http.Request) {
	verb := map[string]string{
		http.MethodGet: "get", http.MethodPost: "create", http.MethodPut: "update",
		http.MethodPatch: "patch", http.MethodDelete: "delete",
	}[request.Method]
	if verb == "get" && request.URL.Query().Get("watch") != "" {
		verb = "watch"
	}
	meter().requests.WithLabelValues(verb).Inc()
}

// setHostUnreachable notes whether the host can be reached.
func setHostUnreachable(is bool) {
	meter().unreachable.Set(number(is))
}

// number is 1 for true.
func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
