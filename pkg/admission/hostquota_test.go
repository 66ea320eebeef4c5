package admission

import (
	"errors"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
)

// TestHostQuotaDenials checks what a tenant reads of a Service that a limit refuses. It has
// what is used, what was asked and the hard limit.
func TestHostQuotaDenials(t *testing.T) {
	t.Parallel()
	services := schema.GroupResource{Resource: "services"}
	for name, err := range map[string]error{
		"service-quota": apierrors.NewForbidden(services, "web-hash", errors.New("exceeded quota: shop-objects, "+
			"requested: services.nodeports=1, used: services.nodeports=10, limited: services.nodeports=10")),
		"service-limit": &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
			Message: "exceeded limit of the virtual cluster: count of services: used 450, asked 1, hard 450. " +
				"Delete some, or ask the operator of the host to raise policies.objects.count.services",
		}},
	} {
		key := types.NamespacedName{Namespace: "shop", Name: "web"}
		attributes := admission.NewAttributesRecord(&corev1.Service{}, nil, schema.GroupVersionKind{Version: "v1", Kind: "Service"},
			key.Namespace, key.Name, services.WithVersion("v1"), "", admission.Create, nil, false, nil)
		equalDenial(t, name, fromHostError(attributes, key, err))
	}
}
