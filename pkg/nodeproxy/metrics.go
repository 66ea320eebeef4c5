package nodeproxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"
)

// proxyMetrics is what can be seen of the proxy from outside.
type proxyMetrics struct {
	requests *metrics.CounterVec
	open     *metrics.GaugeVec
	panics   *metrics.CounterVec
}

// newMetrics makes the metrics and hands them to register, if there is one.
// Metrics that nobody registered count nothing.
func newMetrics(register func(metrics.Registerable) error) (*proxyMetrics, error) {
	m := &proxyMetrics{
		requests: metrics.NewCounterVec(&metrics.CounterOpts{
			Namespace:      "sublet",
			Subsystem:      "nodeproxy",
			Name:           "requests_total",
			Help:           "Requests to kubelets of the virtual cluster, by what was asked for and by the HTTP status of the answer. A stream that was opened counts as 101.",
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
	if register == nil {
		return m, nil
	}
	var err error
	if m.requests, err = registered(register, m.requests); err != nil {
		return nil, err
	}
	if m.open, err = registered(register, m.open); err != nil {
		return nil, err
	}
	m.panics, err = registered(register, m.panics)
	return m, err
}

// registered is the metric after it was registered, or the one that another
// proxy of the process registered before.
func registered[T metrics.Registerable](register func(metrics.Registerable) error, metric T) (T, error) {
	err := register(metric)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(T); ok {
			return existing, nil
		}
	}
	if err != nil {
		return metric, fmt.Errorf("cannot register the metric %s: %w", metric.FQName(), err)
	}
	return metric, nil
}

// observe counts what handler does under the name of operation.
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

// codeRecorder remembers the status of the answer.
type codeRecorder struct {
	http.ResponseWriter
	code    int
	written bool
}

// WriteHeader implements http.ResponseWriter.
func (c *codeRecorder) WriteHeader(code int) {
	c.code, c.written = code, true
	c.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController flush and hijack.
func (c *codeRecorder) Unwrap() http.ResponseWriter { return c.ResponseWriter }
