package admission

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// TestEvictions checks that an eviction asks the budgets of the host.
func TestEvictions(t *testing.T) {
	t.Parallel()
	budget := apierrors.NewTooManyRequests("Cannot evict pod web-x as it would violate the budget ours.", 0)
	for _, c := range []struct {
		reason      string
		enabled     bool
		subresource string
		host        error
		isWanted    func(error) bool
	}{
		{"the host agrees", true, "eviction", nil, isNil},
		{"a budget of the host forbids it, and the client knows that it is a budget", true, "eviction", budget, isBudget},
		{"the host does not answer", true, "eviction", errors.New("no route to 192.0.2.1"), apierrors.IsServiceUnavailable},
		{"the kind is off, and there is no permission to ask", false, "eviction", budget, isNil},
		{"another request about a pod", true, "binding", budget, isNil},
	} {
		settings := v1alpha1.Default(v1alpha1.Kind{Setting: "sync.toHost.podDisruptionBudgets", Enabled: c.enabled})
		check := PolicyChecks(settings, fakeView{evictErr: c.host})[corev1.Resource("pods")]
		a := admission.NewAttributesRecord(&policyv1.Eviction{}, nil, schema.GroupVersionKind{Kind: "Eviction"}, "shop", "web",
			corev1.SchemeGroupVersion.WithResource("pods"), c.subresource, admission.Create, nil, false, nil)
		got, err := check(t.Context(), a, nil)
		if !c.isWanted(err) || len(got.Violations) > 0 {
			t.Errorf("%s: got %v, %v", c.reason, got.Violations, err)
		}
	}
}

func isNil(err error) bool { return err == nil }

func isBudget(err error) bool {
	return apierrors.IsTooManyRequests(err) && apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause)
}
