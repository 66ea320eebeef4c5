package app

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// TestEventsOnABusyHost records an Event while the host is overloaded. It must not be lost.
func TestEventsOnABusyHost(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	recorded := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			w.Header().Set("Retry-After", "0")
			http.Error(w, "Too many requests, please try again later.", http.StatusTooManyRequests)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.Copy(w, r.Body)
		if requests.Load() == 2 {
			close(recorded)
		}
	}))
	t.Cleanup(server.Close)
	unproven, err := newHostClaims(syncer.AnswerInTime(&rest.Config{Host: server.URL}))
	if err != nil {
		t.Fatal(err)
	}
	events := host.NewEvents(unproven.reports, "tenant-shop")
	t.Cleanup(events.Stop)
	events.RecordStandby(metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "shop-anchor", UID: "anchor"}, "the store waits")
	select {
	case <-recorded:
	case <-time.After(time.Minute):
		t.Errorf("the Event is lost after %d requests", requests.Load())
	}
}
