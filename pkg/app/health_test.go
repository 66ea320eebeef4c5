package app

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sublet-dev/sublet/api/syncz"
)

// TestHealth follows a replica from its start to the moment in which another one
// serves.
func TestHealth(t *testing.T) {
	t.Parallel()
	broken := ""
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == broken {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer api.Close()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: api.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	h := &health{}
	h.add(func() []syncz.Check { return []syncz.Check{{Name: "part", Healthy: true}} })
	for _, step := range []struct {
		reason      string
		change      func()
		live, ready bool
		healthy     bool
	}{
		{"At first it starts: the startup probe waits.", func() {}, false, false, false},
		{"Another replica serves: a restart would not help.", func() { h.setStandby("pod shop-0 serves") }, true, false, false},
		{"It may serve after all.", h.setStarting, false, false, false},
		{"It serves.", func() { h.setServing(client.CoreV1().RESTClient()) }, true, true, true},
		{"The API server is asked: it is not ready,", func() { broken = "/readyz" }, true, false, true},
		{"or not live.", func() { broken = "/livez" }, false, true, true},
		{"A successor serves: the process stays.", func() { h.setStandby("epoch 2") }, true, false, false},
	} {
		step.change()
		live, ready, healthy := h.checkLive(t.Context()) == nil, h.ready(t.Context()) == nil, h.report().Healthy
		if live != step.live || ready != step.ready || healthy != step.healthy {
			t.Errorf("%s live %t, ready %t, healthy %t", step.reason, live, ready, healthy)
		}
	}
	if got := len(h.report().Checks); got != 2 {
		t.Errorf("the report has %d checks, want those of the server and of its part", got)
	}
	if len(h.report().ForTenant().Checks[0].Details) != 0 {
		t.Error("a tenant reads why the host refuses a replica")
	}
}

// TestHealthRemoves holds that the checks of an engine end with its term.
func TestHealthRemoves(t *testing.T) {
	t.Parallel()
	h := &health{}
	first := h.add(func() []syncz.Check { return []syncz.Check{{Name: "first"}} })
	h.add(func() []syncz.Check { return []syncz.Check{{Name: "second"}} })
	first()
	checks := h.report().Checks
	if len(checks) != 2 || checks[1].Name != "second" {
		t.Errorf("checks %v", checks)
	}
}
