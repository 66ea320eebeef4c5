package kinds

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// hostService is what the host made, nil for nothing, or its refusal in the
// tenant's terms.
func hostService(a admission.Attributes, virtual *corev1.Service, made client.Object, err error) (*corev1.Service, error) {
	if err != nil {
		return nil, refusal(a, virtual, err)
	}
	if made == nil {
		return nil, nil
	}
	host, ok := made.(*corev1.Service)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("the host copy of Service %s is a %T", virtual.Name, made))
	}
	return host, nil
}

// refusal is an error of the host as the tenant's: under the name of their own
// Service, and with a way out.
func refusal(a admission.Attributes, virtual *corev1.Service, err error) error {
	resource := a.GetResource().GroupResource()
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code >= http.StatusInternalServerError || apierrors.IsTooManyRequests(err) {
		return unanswered(virtual, err)
	}
	said := status.Status()
	if said.Details != nil && said.Details.Name != "" {
		said.Message = strings.ReplaceAll(said.Message, said.Details.Name, virtual.Name)
		said.Details = said.Details.DeepCopy()
		said.Details.Name = virtual.Name
	}
	if said.Reason == metav1.StatusReasonInvalid {
		return &apierrors.StatusError{ErrStatus: said}
	}
	// The host begins with the words that the tenant's error is going to begin with.
	message := strings.TrimPrefix(said.Message, fmt.Sprintf("%s %q is forbidden: ", resource, virtual.Name))
	return apierrors.NewForbidden(resource, virtual.Name, fmt.Errorf("the host cluster refused it: %s", message))
}

// unanswered is the tenant's error where the host did not decide. The address of
// the request says nothing to a tenant.
func unanswered(virtual *corev1.Service, err error) error {
	why := "its host copy could not be written"
	var request *url.Error
	if errors.As(err, &request) {
		why, err = "the host cluster did not answer", request.Err
	}
	return apierrors.NewServiceUnavailable(fmt.Sprintf("Service %s/%s was left as it is, because %s; try again: %v",
		virtual.Namespace, virtual.Name, why, err))
}
