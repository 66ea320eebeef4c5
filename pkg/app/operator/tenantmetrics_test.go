package operator

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/component-base/metrics"
)

func TestTenantMetrics(t *testing.T) {
	t.Parallel()
	registry := metrics.NewKubeRegistry()
	requests := metrics.NewCounterVec(&metrics.CounterOpts{Name: "rest_client_requests_total", Help: "help"}, []string{"code", "host"})
	latency := metrics.NewCounterVec(&metrics.CounterOpts{Name: "webhook_dials_total", Help: "help"}, []string{"host"})
	kinds := metrics.NewCounterVec(&metrics.CounterOpts{Name: "sublet_reconciles_total", Help: "help"}, []string{"kind"})
	registry.MustRegister(requests, latency, kinds)
	requests.WithLabelValues("200", "10.96.0.1:443").Inc()
	latency.WithLabelValues("policy.corp.svc:443").Inc()
	kinds.WithLabelValues("pods").Inc()

	recorder := httptest.NewRecorder()
	TenantMetrics(registry).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body := recorder.Body.String()
	if !strings.Contains(body, `sublet_reconciles_total{kind="pods"} 1`) {
		t.Errorf("what is the tenant's must stay:\n%s", body)
	}
	for _, secret := range []string{"10.96.0.1", "corp", "rest_client"} {
		if strings.Contains(body, secret) {
			t.Errorf("a tenant reads %q:\n%s", secret, body)
		}
	}
}
