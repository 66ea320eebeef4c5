package operator

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/component-base/metrics"

	"github.com/sublet-dev/sublet/api/syncz"
)

// TestMetricsHaveChecks reads the metrics of an operator: those of the process, and one of each check.
func TestMetricsHaveChecks(t *testing.T) {
	t.Parallel()
	registry := metrics.NewKubeRegistry()
	requests := metrics.NewCounter(&metrics.CounterOpts{Name: "sublet_test_total", Help: "help"})
	registry.MustRegister(requests)
	requests.Inc()
	report := func() syncz.Report {
		return syncz.NewReport(syncz.Check{Name: "holder", Healthy: true}, syncz.Check{Name: "operator's token"},
			syncz.Check{Name: "twice", Healthy: true}, syncz.Check{Name: "twice"})
	}
	recorder := httptest.NewRecorder()
	Metrics(registry, report).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		"# TYPE sublet_check_healthy gauge", `sublet_check_healthy{check="holder"} 1`, `sublet_check_healthy{check="operator's token"} 0`,
		`sublet_check_healthy{check="twice"} 0`, "sublet_test_total 1",
	} {
		if !strings.Contains(recorder.Body.String(), want) {
			t.Errorf("the metrics lack %s:\n%s", want, recorder.Body)
		}
	}
}
