package storage

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/component-base/metrics"
)

// storeMetrics are the sizes of the store as of the keeper's last look.
type storeMetrics struct {
	size, inUse, quota, alarm *metrics.Gauge
}

// newStoreMetrics creates the metrics and registers them, if register is set.
// Unregistered metrics count nothing.
func newStoreMetrics(register func(metrics.Registerable) error) (*storeMetrics, error) {
	gauge := func(name, help string) *metrics.Gauge {
		return metrics.NewGauge(&metrics.GaugeOpts{
			Namespace: "sublet", Subsystem: "store", Name: name, Help: help, StabilityLevel: metrics.ALPHA,
		})
	}
	m := &storeMetrics{
		size:  gauge("size_bytes", "Size of the database file."),
		inUse: gauge("in_use_bytes", "Part of the database file that holds data, old revisions included."),
		quota: gauge("quota_bytes", "Size that the data may reach. Objects are created up to 90 % of it."),
		alarm: gauge("alarm", "1 while the store takes deletes only because its quota is exceeded, otherwise 0."),
	}
	if register == nil {
		return m, nil
	}
	for _, metric := range []**metrics.Gauge{&m.size, &m.inUse, &m.quota, &m.alarm} {
		err := register(*metric)
		// Another store of the process has registered the same name.
		if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
			if existing, ok := already.ExistingCollector.(*metrics.Gauge); ok {
				*metric, err = existing, nil
			}
		}
		if err != nil {
			return nil, fmt.Errorf("cannot register metric %s: %w", (*metric).FQName(), err)
		}
	}
	return m, nil
}

// observe sets the metrics.
func (m *storeMetrics) observe(usage Usage, alarmed bool) {
	m.size.Set(float64(usage.Size))
	m.inUse.Set(float64(usage.InUse))
	m.quota.Set(float64(usage.Quota))
	alarm := 0.0
	if alarmed {
		alarm = 1
	}
	m.alarm.Set(alarm)
}
