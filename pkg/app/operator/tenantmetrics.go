package operator

import (
	"net/http"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics"
)

// TenantMetrics returns a handler for the metrics that tenants may read. It omits those of
// clients, because their labels contain the address of the host's API server.
func TenantMetrics(all metrics.Gatherer) http.Handler {
	return metrics.HandlerFor(tenantGatherer{all}, metrics.HandlerOpts{})
}

// tenantGatherer gathers the metrics that tenants may read.
type tenantGatherer struct{ all metrics.Gatherer }

// Gather implements prometheus.Gatherer.
func (g tenantGatherer) Gather() ([]*dto.MetricFamily, error) {
	families, err := g.all.Gather()
	return slices.DeleteFunc(families, isOfHost), err
}

// isOfHost reports whether a metric is about requests to the host, or has an address in a label.
func isOfHost(family *dto.MetricFamily) bool {
	if strings.HasPrefix(family.GetName(), "rest_client_") {
		return true
	}
	return slices.ContainsFunc(family.GetMetric(), func(m *dto.Metric) bool {
		return slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool {
			return slices.Contains([]string{"host", "url", "server", "address", "endpoint"}, l.GetName()) && l.GetValue() != ""
		})
	})
}
