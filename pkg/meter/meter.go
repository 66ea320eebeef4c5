// Package meter registers metrics. A process has some once. Others are those of parts of which
// it may have several, such as the replicas in a test.
package meter

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/component-base/metrics"
)

// Register registers a metric and returns it. If another part of the process has
// registered one of that name and type before, it returns that one. Without a register
// function, the metric counts nothing.
func Register[T metrics.Registerable](register func(metrics.Registerable) error, metric T) (T, error) {
	if register == nil {
		return metric, nil
	}
	err := register(metric)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, ok := already.ExistingCollector.(T); ok {
			return existing, nil
		}
	}
	if err != nil {
		return metric, fmt.Errorf("cannot register metric %s: %w", metric.FQName(), err)
	}
	return metric, nil
}
