package app

import (
	"net/http"
	"net/http/httptest"
	"testing"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// TestMayEvictReturnsAnswer checks that the view returns the host's answer at once, although its
// Retry-After is longer than an admission request may wait.
func TestMayEvictReturnsAnswer(t *testing.T) {
	t.Parallel()
	asked := 0
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "10")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"TooManyRequests","code":429,
			"details":{"causes":[{"reason":"DisruptionBudget"}],"retryAfterSeconds":10}}`))
	}))
	defer host.Close()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: host.URL})
	if err != nil {
		t.Fatal(err)
	}
	err = hostView{host: client, cluster: translate.Cluster{Namespace: "tenant-shop", Name: "shop"}}.MayEvict(t.Context(), types.NamespacedName{Namespace: "default", Name: "web"})
	seconds, _ := apierrors.SuggestsClientDelay(err)
	if asked != 1 || seconds != 10 || !apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause) {
		t.Errorf("the host was asked %d times, and the answer has %d seconds: %v", asked, seconds, err)
	}
}
