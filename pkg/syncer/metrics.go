package syncer

import (
	"net/http"
	"sync"
	"time"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// meters are the metrics of the syncer. All engines of the process share them.
type meters struct {
	latency    *metrics.HistogramVec
	errors     *metrics.CounterVec
	panics     *metrics.CounterVec
	mismatches *metrics.CounterVec
	held       *metrics.GaugeVec
	waiting    *metrics.GaugeVec

	queueDepth      *metrics.GaugeVec
	queueAdds       *metrics.CounterVec
	queueRetries    *metrics.CounterVec
	queueLatency    *metrics.HistogramVec
	workDuration    *metrics.HistogramVec
	unfinishedWork  *metrics.GaugeVec
	longestRunning  *metrics.GaugeVec
	oldestPending   *metrics.GaugeVec
	watchFailing    *metrics.GaugeVec
	watchActivity   *metrics.GaugeVec
	watchFailures   *metrics.CounterVec
	cacheMissed     *metrics.CounterVec
	requests        *metrics.CounterVec
	unreachable     *metrics.Gauge
	throttleWaiting *metrics.Gauge
	throttled       *metrics.CounterVec
	throttleSeconds *metrics.CounterVec
	copies          *metrics.GaugeVec
	copyBytes       *metrics.GaugeVec
	limited         *metrics.CounterVec
}

// meter creates and registers the metrics when they are needed for the first time.
//
//nolint:gochecknoglobals // Metrics are the process's; it is written once, by sync.OnceValue.
var meter = sync.OnceValue(func() *meters {
	perKind, perWatch := []string{"kind"}, []string{"side", "object"}
	m := &meters{
		latency: histogramVec("sublet_sync_latency_seconds",
			"Time from the event that made an object differ to the last request that put it right, by kind.", perKind),
		errors:     counterVec("sublet_sync_errors_total", "Reconciles that failed, by kind.", perKind),
		panics:     counterVec("sublet_sync_panics_total", "Panics in the functions of a kind, by kind.", perKind),
		mismatches: counterVec("sublet_sync_scan_mismatches_total", "Objects that the full scan found different and no event had announced, by kind.", perKind),
		held:       gaugeVec("sublet_sync_held_deletes", "Host objects whose deletion the store guard has put on hold, by kind.", perKind),
		waiting:    gaugeVec("sublet_sync_waiting", "1 while a kind waits for its first list of both sides, by kind.", perKind),

		queueDepth:     gaugeVec("sublet_sync_queue_depth", "Objects that wait for a reconcile, by kind.", perKind),
		queueAdds:      counterVec("sublet_sync_queue_adds_total", "Objects that were queued for a reconcile, by kind.", perKind),
		queueRetries:   counterVec("sublet_sync_queue_retries_total", "Objects that were queued after a pause, by kind.", perKind),
		queueLatency:   histogramVec("sublet_sync_queue_duration_seconds", "Time that an object waits in the queue, by kind.", perKind),
		workDuration:   histogramVec("sublet_sync_work_duration_seconds", "Duration of a reconcile, by kind.", perKind),
		unfinishedWork: gaugeVec("sublet_sync_unfinished_work_seconds", "Sum of the durations of all reconciles under way, by kind.", perKind),
		longestRunning: gaugeVec("sublet_sync_longest_running_seconds", "Duration of the longest reconcile under way, by kind.", perKind),

		oldestPending: gaugeVec("sublet_sync_oldest_pending_seconds", "Age of the oldest change that waits for a reconcile, by kind.", perKind),

		watchFailing:  gaugeVec("sublet_watch_failing", "1 while a watch fails or is silent, by side and type.", perWatch),
		watchActivity: gaugeVec("sublet_watch_last_activity_timestamp_seconds", "Unix time of the last list, event or bookmark of a watch, by side and type.", perWatch),
		watchFailures: counterVec("sublet_watch_failures_total", "Failed lists and watches, by side and type.", perWatch),
		cacheMissed:   counterVec("sublet_watch_missed_objects_total", "Objects that a comparison with a live list found missing or outdated in a cache, by side and type.", perWatch),

		requests: counterVec("sublet_host_requests_total", "Requests that the syncer sent to the host's API server, by verb.", []string{"verb"}),
		unreachable: metrics.NewGauge(&metrics.GaugeOpts{
			Name: "sublet_host_unreachable", Help: "1 while the host's API server cannot be reached.", StabilityLevel: metrics.ALPHA,
		}),
		throttleWaiting: metrics.NewGauge(&metrics.GaugeOpts{
			Name: "sublet_host_requests_waiting", Help: "Requests to the host that wait for the rate limit.", StabilityLevel: metrics.ALPHA,
		}),
		throttled:       counterVec("sublet_host_requests_throttled_total", "Requests to the host that had to wait for the rate limit, by priority.", []string{"priority"}),
		throttleSeconds: counterVec("sublet_host_throttle_seconds_total", "Time that requests to the host have waited for the rate limit, by priority.", []string{"priority"}),

		copies:    gaugeVec("sublet_host_copies", "Copies of the virtual cluster on the host, by resource.", []string{"resource"}),
		copyBytes: gaugeVec("sublet_host_copies_bytes", "Size of the copies of the virtual cluster on the host, by resource.", []string{"resource"}),
		limited:   counterVec("sublet_host_copies_limited_total", "Copies that were not written because of policies.objects, by resource and limit.", []string{"resource", "limit"}),
	}
	legacyregistry.MustRegister(m.latency, m.errors, m.panics, m.mismatches, m.held, m.waiting,
		m.queueDepth, m.queueAdds, m.queueRetries, m.queueLatency, m.workDuration, m.unfinishedWork, m.longestRunning, m.oldestPending,
		m.watchFailing, m.watchActivity, m.watchFailures, m.cacheMissed,
		m.requests, m.unreachable, m.throttleWaiting, m.throttled, m.throttleSeconds, m.copies, m.copyBytes, m.limited)
	return m
})

func gaugeVec(name, help string, by []string) *metrics.GaugeVec {
	return metrics.NewGaugeVec(&metrics.GaugeOpts{Name: name, Help: help, StabilityLevel: metrics.ALPHA}, by)
}

func counterVec(name, help string, by []string) *metrics.CounterVec {
	return metrics.NewCounterVec(&metrics.CounterOpts{Name: name, Help: help, StabilityLevel: metrics.ALPHA}, by)
}

func histogramVec(name, help string, by []string) *metrics.HistogramVec {
	return metrics.NewHistogramVec(&metrics.HistogramOpts{
		Name: name, Help: help, StabilityLevel: metrics.ALPHA,
		Buckets: []float64{.001, .002, .004, .008, .016, .025, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24},
	}, by)
}

// observeLatency records how long it took from an event to the last request that
// it led to.
func observeLatency(kind string, since time.Duration) {
	meter().latency.WithLabelValues(kind).Observe(since.Seconds())
}

// countHostRequest counts a request to the host.
func countHostRequest(request *http.Request) {
	meter().requests.WithLabelValues(verbOf(request)).Inc()
}

// verbOf returns the API verb of a request.
func verbOf(request *http.Request) string {
	switch request.Method {
	case http.MethodGet:
		if request.URL.Query().Get("watch") != "" {
			return "watch"
		}
		return "get"
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	return ""
}

// setHostUnreachable records whether the host can be reached.
func setHostUnreachable(unreachable bool) {
	meter().unreachable.Set(boolToFloat(unreachable))
}

// boolToFloat returns 1 for true and 0 for false.
func boolToFloat(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
