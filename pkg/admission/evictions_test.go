package admission

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// evictionCase is one eviction and what the tenant must get.
type evictionCase struct {
	reason string
	// hostErrs are the answers of the host, the last one for ever.
	hostErrs []error
	// budgets are those of the tenant that select the pod.
	budgets []policyv1.PodDisruptionBudget
	// want is the wanted error, "" for none. wantCode is its HTTP status.
	want     string
	wantCode int32
	// wantRetryAfter is the wanted delay of clients in seconds, 0 for none.
	wantRetryAfter int
	// wantTook is how long the answer must take.
	wantTook time.Duration
}

func evictionCases() []evictionCase {
	refused := fmt.Errorf("cannot evict: %w", hostBudgetError(0))
	processing := hostBudgetError(10)
	several := &apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusInternalServerError,
		Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."}}
	open, closed := newBudget(1), newBudget(0)
	unseen := newBudget(1)
	unseen[0].Generation = 2
	const longest = 3100 * time.Millisecond
	const onHost = "Cannot evict pod as it would violate the pod's disruption budget on the host."
	const own = "Cannot evict pod as it would violate the pod's disruption budget."
	return []evictionCase{
		{reason: "the host agrees", hostErrs: []error{nil}},
		{reason: "a budget of the operator refuses at once", hostErrs: []error{refused}, want: onHost, wantCode: 429},
		{reason: "the host is still processing a budget", hostErrs: []error{processing, processing, nil}, wantTook: 300 * time.Millisecond},
		{reason: "the host processes a budget for long", hostErrs: []error{processing}, want: onHost, wantCode: 429, wantRetryAfter: 10, wantTook: longest},
		{reason: "the copy of the tenant's budget is behind", hostErrs: []error{refused, nil}, budgets: open, wantTook: 100 * time.Millisecond},
		{reason: "a budget of the operator beside that of the tenant", hostErrs: []error{refused}, budgets: open, want: onHost, wantCode: 429, wantTook: longest},
		{reason: "the budget of the tenant refuses too", hostErrs: []error{refused}, budgets: closed, want: own, wantCode: 429},
		{reason: "the tenant's budget is not processed", hostErrs: []error{processing}, budgets: unseen, want: own, wantCode: 429, wantRetryAfter: 10},
		{reason: "the pod has two budgets on the host", hostErrs: []error{several}, wantCode: 500,
			want: "This pod has more than one PodDisruptionBudget, here or on the host, which the eviction subresource does not support."},
		{reason: "the host is busy, which is no budget", hostErrs: []error{apierrors.NewTooManyRequests("busy", 1)}, wantCode: 503,
			want: "Eviction web cannot be checked: the virtual cluster does not know the state of the host yet. Try again."},
		{reason: "the host does not answer", hostErrs: []error{errors.New("no route to 192.0.2.1")}, wantCode: 503,
			want: "Eviction web cannot be checked: the virtual cluster does not know the state of the host yet. Try again."},
	}
}

// TestEvictions checks that an eviction asks the budgets of the host. It asks again for a moment while
// a copy does not have the last change.
func TestEvictions(t *testing.T) {
	t.Parallel()
	for _, tc := range evictionCases() {
		t.Run(tc.reason, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { testEviction(t, tc) })
		})
	}
}

func testEviction(t *testing.T, tc evictionCase) {
	began := time.Now()
	err := evict(t.Context(), true, "eviction", tc.hostErrs, tc.budgets)
	if took := time.Since(began); took != tc.wantTook {
		t.Errorf("the answer took %s, want %s", took, tc.wantTook)
	}
	if tc.want == "" {
		if err != nil {
			t.Errorf("the eviction must pass: %v", err)
		}
		return
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || err.Error() != tc.want || status.Status().Code != tc.wantCode {
		t.Errorf("got %v, want %d %s", err, tc.wantCode, tc.want)
	}
	if isBudget := apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause); isBudget != (tc.wantCode == http.StatusTooManyRequests) {
		t.Errorf("the error has the cause of a budget: %t", isBudget)
	}
	if seconds, _ := apierrors.SuggestsClientDelay(err); tc.wantCode == http.StatusTooManyRequests && seconds != tc.wantRetryAfter {
		t.Errorf("clients wait %d seconds, want %d", seconds, tc.wantRetryAfter)
	}
}

// TestEvictionsNotChecked checks that the host is asked about evictions only, and only with the
// permission for it.
func TestEvictionsNotChecked(t *testing.T) {
	t.Parallel()
	refused := []error{hostBudgetError(0)}
	if err := evict(t.Context(), false, "eviction", refused, nil); err != nil {
		t.Errorf("the kind is off: %v", err)
	}
	if err := evict(t.Context(), true, "binding", refused, nil); err != nil {
		t.Errorf("another request about a pod: %v", err)
	}
}

// evict asks the check about a request of a tenant.
func evict(ctx context.Context, enabled bool, subresource string, hostErrs []error, budgets []policyv1.PodDisruptionBudget) error {
	settings := v1alpha1.Default(v1alpha1.Kind{Setting: "sync.toHost.podDisruptionBudgets", Enabled: enabled})
	list := func(context.Context, types.NamespacedName) ([]policyv1.PodDisruptionBudget, error) {
		return budgets, nil
	}
	checks := PolicyChecks(settings, fakeView{})
	AddEvictionChecks(checks, settings, fakeView{evictErrs: &hostErrs}, list)
	a := admission.NewAttributesRecord(&policyv1.Eviction{}, nil, schema.GroupVersionKind{Kind: "Eviction"}, "shop", "web",
		corev1.SchemeGroupVersion.WithResource("pods"), subresource, admission.Create, nil, false, nil)
	_, err := checks[corev1.Resource("pods")](ctx, a, nil)
	return err
}

// hostBudgetError returns the answer of a host whose budget refuses an eviction.
func hostBudgetError(retryAfter int) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod web-x as it would violate the budget ours.", retryAfter)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: policyv1.DisruptionBudgetCause, Message: "The budget ours refuses."}}
	return err
}

// newBudget returns a budget of the tenant that allows so many evictions.
func newBudget(allowed int32) []policyv1.PodDisruptionBudget {
	return []policyv1.PodDisruptionBudget{{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Generation: 1},
		Status:     policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: allowed},
	}}
}

func isNil(err error) bool { return err == nil }
