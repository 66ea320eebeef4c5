package meter

import (
	"errors"
	"testing"

	"k8s.io/component-base/metrics"
)

func newCounter() *metrics.Counter {
	return metrics.NewCounter(&metrics.CounterOpts{Name: "meter_test_total", Help: "A metric of a test."})
}

func TestRegister(t *testing.T) {
	t.Parallel()
	registry := metrics.NewKubeRegistry()
	first, err := Register(registry.Register, newCounter())
	if err != nil {
		t.Fatal(err)
	}
	second, err := Register(registry.Register, newCounter())
	if err != nil || second != first {
		t.Errorf("two parts must share a metric: %v", err)
	}
	gauge := metrics.NewGauge(&metrics.GaugeOpts{Name: "meter_test_total", Help: "A metric of a test."}) //nolint:promlinter // It has the name of a counter.
	if _, err := Register(registry.Register, gauge); err == nil {
		t.Error("a metric of another type must not take the name")
	}
	if _, err := Register(func(metrics.Registerable) error { return errors.New("no") }, newCounter()); err == nil {
		t.Error("the error must be returned")
	}
	if _, err := Register(nil, newCounter()); err != nil {
		t.Errorf("nobody needs to read the metric: %v", err)
	}
}
