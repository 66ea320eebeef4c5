package egress

import (
	"errors"

	"k8s.io/component-base/metrics"

	"github.com/sublet-dev/sublet/pkg/meter"
)

// dialMetrics are the metrics of a [Dialer].
type dialMetrics struct{ dials *metrics.CounterVec }

// newMetrics creates the metrics and registers them, if register is set.
func newMetrics(register func(metrics.Registerable) error) (*dialMetrics, error) {
	m := &dialMetrics{dials: metrics.NewCounterVec(&metrics.CounterOpts{
		Namespace:      "sublet",
		Subsystem:      "egress",
		Name:           "dials_total",
		Help:           "Connections that the API server opened on behalf of the tenant, by result: connected, failed, or refused by policies.controlPlane.egress.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"result"})}
	var err error
	m.dials, err = meter.Register(register, m.dials)
	return m, err
}

// count counts a dial by its error.
func (m *dialMetrics) count(err error) {
	result := "connected"
	if _, refused := errors.AsType[*RefusedError](err); refused {
		result = "refused"
	} else if err != nil {
		result = "failed"
	}
	m.dials.WithLabelValues(result).Inc()
}
