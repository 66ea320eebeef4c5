package sim

import (
	"fmt"

	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics/legacyregistry"
)

// Where the API server counts who has asked. Its parts in this process are
// exempt from fair queuing, and service accounts of kube-system have a schema of
// their own.
const (
	requestsMetric = "apiserver_flowcontrol_dispatched_requests_total"
	schemaLabel    = "flow_schema"
	tenantSchema   = "service-accounts"
)

// ServiceAccountRequests returns how many requests the host has served so far to
// service accounts outside kube-system, watches among them. On a host with one virtual
// cluster, these are the requests of its server. The host itself counts them, and the
// count is one for all hosts of the process.
func (h *Host) ServiceAccountRequests() (float64, error) {
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		return 0, fmt.Errorf("cannot read the host's metrics: %w", err)
	}
	for _, family := range families {
		if family.GetName() == requestsMetric {
			return sumSamples(family, schemaLabel, tenantSchema), nil
		}
	}
	return 0, fmt.Errorf("the host's metrics have no %s", requestsMetric)
}

// sumSamples adds up the counters of a family that carry the label.
func sumSamples(family *dto.MetricFamily, label, value string) float64 {
	sum := 0.0
	for _, metric := range family.GetMetric() {
		for _, pair := range metric.GetLabel() {
			if pair.GetName() == label && pair.GetValue() == value {
				sum += metric.GetCounter().GetValue()
			}
		}
	}
	return sum
}
