package syncer

import (
	"net/http"
	"sync"
	"time"

	"k8s.io/component-base/metrics"

	"github.com/sublet-dev/sublet/pkg/meter"
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

// processMetrics creates and registers the metrics when they are needed for the first time.
//
//nolint:gochecknoglobals // Metrics are the process's; it is written once, by sync.OnceValue.
var processMetrics = sync.OnceValue(func() *meters {
	return &meters{
		latency: meter.HistogramVec("sublet_sync_latency_seconds",
			"Time from the event that made an object differ to the last request that put it right, by kind.", latencyBuckets(), "kind"),
		errors:     meter.CounterVec("sublet_sync_errors_total", "Reconciles that failed, by kind.", "kind"),
		panics:     meter.CounterVec("sublet_sync_panics_total", "Panics in the functions of a kind, by kind.", "kind"),
		mismatches: meter.CounterVec("sublet_sync_scan_mismatches_total", "Objects that the full scan found different and no event had announced, by kind.", "kind"),
		held:       meter.GaugeVec("sublet_sync_held_deletes", "Host objects whose deletion the store guard has put on hold, by kind.", "kind"),
		waiting:    meter.GaugeVec("sublet_sync_waiting", "1 while a kind waits for its first list of both sides, by kind.", "kind"),

		queueDepth:     meter.GaugeVec("sublet_sync_queue_depth", "Objects that wait for a reconcile, by kind.", "kind"),
		queueAdds:      meter.CounterVec("sublet_sync_queue_adds_total", "Objects that were queued for a reconcile, by kind.", "kind"),
		queueRetries:   meter.CounterVec("sublet_sync_queue_retries_total", "Objects that were queued after a pause, by kind.", "kind"),
		queueLatency:   meter.HistogramVec("sublet_sync_queue_duration_seconds", "Time that an object waits in the queue, by kind.", latencyBuckets(), "kind"),
		workDuration:   meter.HistogramVec("sublet_sync_work_duration_seconds", "Duration of a reconcile, by kind.", latencyBuckets(), "kind"),
		unfinishedWork: meter.GaugeVec("sublet_sync_unfinished_work_seconds", "Sum of the durations of all reconciles under way, by kind.", "kind"),
		longestRunning: meter.GaugeVec("sublet_sync_longest_running_seconds", "Duration of the longest reconcile under way, by kind.", "kind"),

		oldestPending: meter.GaugeVec("sublet_sync_oldest_pending_seconds", "Age of the oldest change that waits for a reconcile, by kind.", "kind"),

		watchFailing:  meter.GaugeVec("sublet_watch_failing", "1 while a watch fails or is silent, by side and type.", "side", "object"),
		watchActivity: meter.GaugeVec("sublet_watch_last_activity_timestamp_seconds", "Unix time of the last list, event or bookmark of a watch, by side and type.", "side", "object"),
		watchFailures: meter.CounterVec("sublet_watch_failures_total", "Failed lists and watches, by side and type.", "side", "object"),
		cacheMissed:   meter.CounterVec("sublet_watch_missed_objects_total", "Objects that a comparison with a live list found missing or outdated in a cache, by side and type.", "side", "object"),

		requests:        meter.CounterVec("sublet_host_requests_total", "Requests that the syncer sent to the host's API server, by verb.", "verb"),
		unreachable:     meter.Gauge("sublet_host_unreachable", "1 while the host's API server cannot be reached."),
		throttleWaiting: meter.Gauge("sublet_host_requests_waiting", "Requests to the host that wait for the rate limit."),
		throttled:       meter.CounterVec("sublet_host_requests_throttled_total", "Requests to the host that had to wait for the rate limit, by priority.", "priority"),
		throttleSeconds: meter.CounterVec("sublet_host_throttle_seconds_total", "Time that requests to the host have waited for the rate limit, by priority.", "priority"),

		copies:    meter.GaugeVec("sublet_host_copies", "Copies of the virtual cluster on the host, by resource.", "resource"),
		copyBytes: meter.GaugeVec("sublet_host_copies_bytes", "Size of the copies of the virtual cluster on the host, by resource.", "resource"),
		limited:   meter.CounterVec("sublet_host_copies_limited_total", "Copies that were not written because of policies.objects, by resource and limit.", "resource", "limit"),
	}
})

// latencyBuckets returns the buckets for times from milliseconds to ten seconds.
func latencyBuckets() []float64 {
	return []float64{.001, .002, .004, .008, .016, .025, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24}
}

// observeLatency records how long it took from an event to the last request that
// it led to.
func observeLatency(kind string, since time.Duration) {
	processMetrics().latency.WithLabelValues(kind).Observe(since.Seconds())
}

// countHostRequest counts a request to the host.
func countHostRequest(request *http.Request) {
	processMetrics().requests.WithLabelValues(verbOf(request)).Inc()
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

// recordHostUnreachable records that the host cannot be reached.
func recordHostUnreachable() { processMetrics().unreachable.Set(1) }

// recordHostReachable records that the host can be reached.
func recordHostReachable() { processMetrics().unreachable.Set(0) }
