package connection

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func TestAwaitReady(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason  string
		answers []int
		ready   bool
	}{
		{"It is ready.", []int{http.StatusOK}, true},
		{"Its caches still fill.", []int{http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusOK}, true},
		{"Another answer is no reason to wait.", []int{http.StatusUnauthorized}, false},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/readyz" {
					t.Errorf("it asks %s", r.URL.Path)
				}
				w.WriteHeader(c.answers[min(int(asked.Add(1)), len(c.answers))-1])
			}))
			t.Cleanup(server.Close)
			client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			if err := awaitReady(t.Context(), client); (err == nil) != c.ready || int(asked.Load()) != len(c.answers) {
				t.Errorf("it is %v after %d questions", err, asked.Load())
			}
		})
	}
}
