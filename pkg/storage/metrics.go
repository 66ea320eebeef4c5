package storage

import (
	"k8s.io/component-base/metrics"

	"github.com/sublet-dev/sublet/pkg/meter"
)

// storeMetrics are the sizes of the store at the last check.
type storeMetrics struct {
	size, inUse, quota, alarm, up *metrics.Gauge
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
		up:    gauge("up", "1 while the store answers, otherwise 0."),
	}
	for _, metric := range []**metrics.Gauge{&m.size, &m.inUse, &m.quota, &m.alarm, &m.up} {
		var err error
		if *metric, err = meter.Register(register, *metric); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// noAlarm is for stores without alarms.
const noAlarm = false

// observe sets the metrics.
func (m *storeMetrics) observe(usage Usage, alarmed bool) {
	m.size.Set(float64(usage.Size))
	m.inUse.Set(float64(usage.InUse))
	m.quota.Set(float64(usage.Quota))
	m.alarm.Set(float64(toInt(alarmed)))
}

// recordUp records that the store answers.
func (m *storeMetrics) recordUp() { m.up.Set(1) }

// recordDown records that the store does not answer.
func (m *storeMetrics) recordDown() { m.up.Set(0) }
