package nodeproxy

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"

	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/pkg/meter"
)

// proxyMetrics are the metrics of the proxy.
type proxyMetrics struct {
	requests *metrics.CounterVec
	open     *metrics.GaugeVec
	panics   *metrics.CounterVec
}

// newMetrics creates the metrics and registers them, if register is set. Metrics
// that are not registered count nothing.
func newMetrics(register func(metrics.Registerable) error) (*proxyMetrics, error) {
	m := &proxyMetrics{
		requests: metrics.NewCounterVec(&metrics.CounterOpts{
			Namespace:      "sublet",
			Subsystem:      "nodeproxy",
			Name:           "requests_total",
			Help:           "Requests to kubelets of the virtual cluster, by operation and by HTTP status. A stream that was opened counts as 101.",
			StabilityLevel: metrics.ALPHA,
		}, []string{"operation", "code"}),
		open: metrics.NewGaugeVec(&metrics.GaugeOpts{
			Namespace:      "sublet",
			Subsystem:      "nodeproxy",
			Name:           "open_requests",
			Help:           "Requests to kubelets of the virtual cluster that are being served, streams and followed logs among them.",
			StabilityLevel: metrics.ALPHA,
		}, []string{"operation"}),
		panics: metrics.NewCounterVec(&metrics.CounterOpts{
			Namespace:      "sublet",
			Subsystem:      "nodeproxy",
			Name:           "panics_total",
			Help:           "Requests to kubelets of the virtual cluster that ended in a panic. Each is a bug; its stack is in the log.",
			StabilityLevel: metrics.ALPHA,
		}, []string{"operation"}),
	}
	var err error
	if m.requests, err = meter.Register(register, m.requests); err != nil {
		return nil, err
	}
	if m.open, err = meter.Register(register, m.open); err != nil {
		return nil, err
	}
	m.panics, err = meter.Register(register, m.panics)
	return m, err
}

// observe returns a handler that counts the requests of an operation and recovers
// from panics.
func (m *proxyMetrics) observe(operation string, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorder := &codeRecorder{ResponseWriter: w, code: http.StatusOK}
		open := m.open.WithLabelValues(operation)
		open.Inc()
		// Deferred, because a handler may panic to break the connection.
		defer func() {
			open.Dec()
			m.requests.WithLabelValues(operation, strconv.Itoa(recorder.code)).Inc()
		}()
		defer m.recoverPanic(r.Context(), operation, recorder)
		handler.ServeHTTP(recorder, r)
	})
}

// recoverPanic limits a panic to the request that met it. It logs and counts the
// panic, and answers 500 if nothing was written yet. A panic with
// http.ErrAbortHandler continues: it breaks the connection on purpose.
func (m *proxyMetrics) recoverPanic(ctx context.Context, operation string, recorder *codeRecorder) {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler { //nolint:errorlint // net/http compares it in the same way
		panic(cause)
	}
	m.panics.WithLabelValues(operation).Inc()
	klog.FromContext(ctx).Error(fmt.Errorf("panic: %v", cause), "Cannot serve kubelet request",
		"operation", operation, "stack", string(debug.Stack()))
	if recorder.written {
		panic(http.ErrAbortHandler)
	}
	(&errorResponse{code: http.StatusInternalServerError, text: "internal error of the virtual cluster"}).write(recorder)
}

// codeRecorder records the status of the response.
type codeRecorder struct {
	http.ResponseWriter

	code    int
	written bool // whether the header was sent
}

// WriteHeader implements http.ResponseWriter.
func (c *codeRecorder) WriteHeader(code int) {
	c.code, c.written = code, true
	c.ResponseWriter.WriteHeader(code)
}

// Unwrap returns the writer by which http.ResponseController flushes and hijacks.
func (c *codeRecorder) Unwrap() http.ResponseWriter { return c.ResponseWriter }
