package operator

import (
	"maps"
	"net/http"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics"

	"github.com/sublet-dev/sublet/api/syncz"
)

// checkMetric is the name of the metric of the checks of /syncz.
const checkMetric = "sublet_check_healthy"

// Metrics returns a handler for the metrics that operators may read: all, and one of each check of the report.
func Metrics(all metrics.Gatherer, report func() syncz.Report) http.Handler {
	return metrics.HandlerFor(checkGatherer{all, report}, metrics.HandlerOpts{})
}

// checkGatherer adds the checks of a report to the metrics.
type checkGatherer struct {
	all    metrics.Gatherer
	report func() syncz.Report
}

// Gather implements prometheus.Gatherer.
func (g checkGatherer) Gather() ([]*dto.MetricFamily, error) {
	families, err := g.all.Gather()
	return append(families, familyOfChecks(g.report())), err
}

// familyOfChecks returns a gauge with the value 1 for each healthy check, and 0 for each other one.
func familyOfChecks(report syncz.Report) *dto.MetricFamily {
	healthy := map[string]float64{} // name -> value
	for _, check := range report.Checks {
		before, found := healthy[check.Name]
		healthy[check.Name] = 0
		if check.Healthy && (!found || before == 1) {
			healthy[check.Name] = 1
		}
	}
	family := &dto.MetricFamily{
		Name: new(checkMetric), Help: new("[ALPHA] Whether a check of /syncz is healthy: 1 if it is, else 0."), Type: dto.MetricType_GAUGE.Enum(),
	}
	for _, name := range slices.Sorted(maps.Keys(healthy)) {
		family.Metric = append(family.Metric, &dto.Metric{
			Label: []*dto.LabelPair{{Name: new("check"), Value: new(name)}},
			Gauge: &dto.Gauge{Value: new(healthy[name])},
		})
	}
	return family
}
