package admission

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// severalBudgets is the beginning of the answer of Kubernetes to an eviction of a pod with more than one budget.
const severalBudgets = "This pod has more than one PodDisruptionBudget"

// budgetRetryAfter is how many seconds a client waits for a budget that is not processed yet, as in
// Kubernetes.
const budgetRetryAfter = 10

// ListBudgets returns the PodDisruptionBudgets of the tenant that select a pod.
type ListBudgets func(ctx context.Context, pod types.NamespacedName) ([]policyv1.PodDisruptionBudget, error)

// AddEvictionChecks adds a check of the host's PodDisruptionBudgets to evictions, including those of the
// operator. The virtual API server itself checks those of the tenant.
func AddEvictionChecks(checks Checks, settings *v1alpha1.Config, host HostView, list ListBudgets) {
	if !settings.Sync.IsEnabled("sync.toHost.podDisruptionBudgets") {
		return
	}
	check := evictionCheck{host, list}
	checks.Add(corev1.Resource("pods"), func(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) (Decision, error) {
		if a.GetSubresource() != "eviction" || a.GetOperation() != admission.Create {
			return Decision{}, nil
		}
		return Decision{}, check.await(ctx, a)
	})
}

// evictionCheck checks evictions of pods.
type evictionCheck struct {
	host HostView
	list ListBudgets
}

// await asks the host about an eviction. It asks again for three seconds while the copy of a budget
// may be older than the tenant's budget, which allows the eviction.
func (c evictionCheck) await(ctx context.Context, a admission.Attributes) error {
	pauses := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Steps: 6}
	var refusal error
	err := wait.ExponentialBackoffWithContext(ctx, pauses, func(ctx context.Context) (done bool, _ error) {
		var mayPass bool
		refusal, mayPass = c.checkHost(ctx, a)
		return refusal == nil || !mayPass, nil
	})
	if err != nil && refusal == nil { // The request ended before the host was asked.
		return unknownHost(a, err)
	}
	return refusal
}

// checkHost returns why a pod may not be evicted, and whether that may pass in a moment.
func (c evictionCheck) checkHost(ctx context.Context, a admission.Attributes) (refusal error, mayPass bool) {
	pod := types.NamespacedName{Namespace: a.GetNamespace(), Name: a.GetName()}
	err := c.host.MayEvict(ctx, pod)
	switch {
	case err == nil:
		return nil, false
	case isSeveralBudgets(err):
		return newSeveralBudgetsError(), false
	case !apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause):
		return unknownHost(a, err), false
	}
	budgets, listErr := c.list(ctx, pod)
	if listErr != nil {
		return apierrors.NewInternalError(fmt.Errorf("cannot list the PodDisruptionBudgets of pod %s: %w", pod, listErr)), false
	}
	for i := range budgets {
		if refusal := refuseByBudget(&budgets[i]); refusal != nil {
			return refusal, false
		}
	}
	if seconds, found := apierrors.SuggestsClientDelay(err); found && seconds > 0 {
		return newBudgetError("on the host", "A disruption budget of the host is still being processed.", budgetRetryAfter), true
	}
	return newBudgetError("on the host", "A disruption budget of the host needs more healthy pods.", 0), len(budgets) > 0
}

// refuseByBudget returns the error of the virtual API server if a budget of the tenant allows no
// eviction now.
func refuseByBudget(budget *policyv1.PodDisruptionBudget) error {
	status := budget.Status
	switch {
	case status.ObservedGeneration < budget.Generation:
		return newBudgetError("", fmt.Sprintf("The disruption budget %s is still being processed by the server.", budget.Name), budgetRetryAfter)
	case status.DisruptionsAllowed <= 0:
		return newBudgetError("", fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently",
			budget.Name, status.DesiredHealthy, status.CurrentHealthy), 0)
	}
	return nil
}

// newBudgetError returns the error of an eviction that a budget denies. It has the cause
// DisruptionBudget, which clients expect, but not the name of a budget of the host. It has a Retry-After
// only if seconds is not 0, because client libraries wait before they return it.
func newBudgetError(where, cause string, seconds int) *apierrors.StatusError {
	text := strings.TrimSpace("Cannot evict pod as it would violate the pod's disruption budget " + where)
	err := apierrors.NewTooManyRequests(text+".", seconds)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: policyv1.DisruptionBudgetCause, Message: cause}}
	return err
}

// isSeveralBudgets reports whether the host refuses an eviction because the pod has several budgets
// there.
func isSeveralBudgets(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code == http.StatusInternalServerError &&
		strings.HasPrefix(status.Status().Message, severalBudgets)
}

// newSeveralBudgetsError returns the error of Kubernetes for a pod with several budgets. One of them may
// be the operator's.
func newSeveralBudgetsError() *apierrors.StatusError {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInternalServerError,
		Message: severalBudgets + ", here or on the host, which the eviction subresource does not support.",
	}}
}
