package admission

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// fromHostError converts an error of the host to an error about the tenant's own object, with what to do. A
// refusal becomes a denial. For any other error, the tenant is asked to retry.
func fromHostError(a admission.Attributes, name types.NamespacedName, err error) error {
	resource := a.GetResource().GroupResource()
	var status apierrors.APIStatus
	if !errors.As(err, &status) || isUndecided(status.Status().Code) {
		return hostUnavailable(a, name, err)
	}
	refusal := status.Status()
	var names translate.Rewriter
	if refusal.Details != nil && refusal.Details.Name != "" {
		names.AddObject(types.NamespacedName{Name: refusal.Details.Name}, name)
		refusal.Details = refusal.Details.DeepCopy()
		refusal.Details.Name = name.Name
	}
	refusal.Message = names.RewriteError(refusal.Message)
	if namesField(refusal) {
		return &apierrors.StatusError{ErrStatus: refusal}
	}
	// The host's message starts as the tenant's error will.
	message := strings.TrimPrefix(refusal.Message, fmt.Sprintf("%s %q is forbidden: ", resource, name.Name))
	return apierrors.NewForbidden(resource, name.Name, fmt.Errorf("the host cluster refused it: %s", message))
}

// isUndecided reports whether an answer with the status code decides nothing about the object. The same
// request may succeed later: after a change of others, or with renewed credentials of the control plane.
func isUndecided(code int32) bool {
	switch code {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return true
	default:
		return code >= http.StatusInternalServerError
	}
}

// namesField reports whether the host found a field of the object invalid. A policy
// denies with the same reason, but names no field.
func namesField(refusal metav1.Status) bool {
	return refusal.Reason == metav1.StatusReasonInvalid && refusal.Details != nil &&
		slices.ContainsFunc(refusal.Details.Causes, func(c metav1.StatusCause) bool { return c.Field != "" })
}

// tenantError is an error whose text was written for tenants. Every other error may
// have names and addresses of the host.
type tenantError interface {
	error
	// TenantMessage returns the text, without a full stop.
	TenantMessage() string
}

// hostUnavailable returns the tenant's error if the host has not decided about a request. Its text is fixed,
// because that of the host has names of webhooks, quotas and servers. The latter is logged for the
// operator.
func hostUnavailable(a admission.Attributes, name types.NamespacedName, err error) error {
	object := name.Name
	if name.Namespace != "" {
		object = name.String()
	}
	cause := "the host cluster could not write its copy"
	if forTenant, ok := errors.AsType[tenantError](err); ok {
		cause = forTenant.TenantMessage()
	} else if _, ok := errors.AsType[*url.Error](err); ok {
		cause = "the host cluster did not respond"
	}
	klog.InfoS("Host copy not written, the tenant's request failed", "kind", a.GetKind().Kind, "object", object, "err", err)
	unavailable := apierrors.NewServiceUnavailable(fmt.Sprintf("%s %s was not changed: %s. Try again.", a.GetKind().Kind, object, cause))
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok && seconds <= math.MaxInt32 {
		// With a time in the answer, clients try again by themselves.
		unavailable.ErrStatus.Details = &metav1.StatusDetails{RetryAfterSeconds: int32(seconds)} //nolint:gosec // It is bounded above.
	}
	return unavailable
}
