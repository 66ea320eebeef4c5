package meter

import (
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// Gauge registers a gauge of the process, which must not have a metric of that name yet.
func Gauge(name, help string) *metrics.Gauge {
	return mustRegister(metrics.NewGauge(&metrics.GaugeOpts{Name: name, Help: help, StabilityLevel: metrics.ALPHA}))
}

// Counter registers a counter, as [Gauge] does a gauge.
func Counter(name, help string) *metrics.Counter {
	return mustRegister(metrics.NewCounter(&metrics.CounterOpts{Name: name, Help: help, StabilityLevel: metrics.ALPHA}))
}

// GaugeVec registers a gauge with labels, as [Gauge] does.
func GaugeVec(name, help string, labels ...string) *metrics.GaugeVec {
	return mustRegister(metrics.NewGaugeVec(&metrics.GaugeOpts{Name: name, Help: help, StabilityLevel: metrics.ALPHA}, labels))
}

// CounterVec registers a counter with labels, as [Gauge] does.
func CounterVec(name, help string, labels ...string) *metrics.CounterVec {
	return mustRegister(metrics.NewCounterVec(&metrics.CounterOpts{Name: name, Help: help, StabilityLevel: metrics.ALPHA}, labels))
}

// HistogramVec registers a histogram with labels, as [Gauge] does.
func HistogramVec(name, help string, buckets []float64, labels ...string) *metrics.HistogramVec {
	return mustRegister(metrics.NewHistogramVec(
		&metrics.HistogramOpts{Name: name, Help: help, Buckets: buckets, StabilityLevel: metrics.ALPHA}, labels))
}

func mustRegister[T metrics.Registerable](metric T) T {
	legacyregistry.MustRegister(metric)
	return metric
}
