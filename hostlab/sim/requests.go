package sim

import (
	"fmt"

	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics/legacyregistry"
)

// The API server's counter of requests, by flow schema. Its own parts in this process are
// exempt from fair queuing, and service accounts of kube-system have a flow schema of
// their own.
const (
	requestsMetric = "apiserver_flowcontrol_dispatched_requests_total"
	schemaLabel    = "flow_schema"
	tenantSchema   = "service-accounts"
)

// The API server's gauge of long-running requests, by verb.
const (
	longRunningMetric = "apiserver_longrunning_requests"
	verbLabel         = "verb"
	watchVerb         = "WATCH"
)

// Watches returns how many watches the host serves now. The count is one for all hosts of the
// process, and has those of its own parts.
func (h *Host) Watches() (float64, error) {
	family, err := findFamily(longRunningMetric)
	if err != nil {
		return 0, err
	}
	return sumSamples(family, verbLabel, watchVerb), nil
}

// ServiceAccountRequests returns how many requests the host has served so far to
// service accounts outside kube-system, watches among them. On a host with one virtual
// cluster, these are the requests of its server. The host itself counts them, and the
// count is one for all hosts of the process.
func (h *Host) ServiceAccountRequests() (float64, error) {
	family, err := findFamily(requestsMetric)
	if err != nil {
		return 0, err
	}
	return sumSamples(family, schemaLabel, tenantSchema), nil
}

// findFamily returns the host's metric of a name.
func findFamily(name string) (*dto.MetricFamily, error) {
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		return nil, fmt.Errorf("cannot read the host's metrics: %w", err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family, nil
		}
	}
	return nil, fmt.Errorf("the host's metrics have no %s", name)
}

// sumSamples adds up the counters and gauges of a family that carry the label.
func sumSamples(family *dto.MetricFamily, label, value string) float64 {
	sum := 0.0
	for _, metric := range family.GetMetric() {
		for _, pair := range metric.GetLabel() {
			if pair.GetName() == label && pair.GetValue() == value {
				sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	return sum
}
