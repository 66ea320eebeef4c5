package admission

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// CheckAPIServices returns the check of APIServices. It denies an APIService whose Service is an external
// name to which the API server would not connect. service returns a Service of the virtual cluster.
//
// The check only gives an early error. The dialer enforces the rule, because the Service may change
// later.
func CheckAPIServices(egress v1alpha1.ControlPlaneEgress, service func(namespace, name string) (*corev1.Service, error)) PolicyCheck {
	return func(_ context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
		if a.GetSubresource() != "" || a.GetOperation() != admission.Create && a.GetOperation() != admission.Update {
			return Decision{}, nil
		}
		registered, err := toV1[apiregistrationv1.APIService](a.GetObject(), o)
		if err != nil || registered.Spec.Service == nil {
			return Decision{}, err
		}
		reference := registered.Spec.Service
		target, err := service(reference.Namespace, reference.Name)
		if err != nil || target.Spec.Type != corev1.ServiceTypeExternalName || mayConnectTo(egress, target.Spec.ExternalName) {
			return Decision{}, nil //nolint:nilerr // Kubernetes takes an APIService before its Service.
		}
		return Decision{Violations: []policy.Violation{{
			Field: "spec.service", Value: reference.Namespace + "/" + reference.Name,
			Detail: "not allowed, because this Service is the external name " + target.Spec.ExternalName +
				", and the control plane connects to no name outside of this virtual cluster",
			Setting: "policies.controlPlane.egress.allowedHosts",
		}}}, nil
	}
}

// mayConnectTo reports whether the settings may allow connections to a name. Its address may be in any
// allowed range.
func mayConnectTo(egress v1alpha1.ControlPlaneEgress, name string) bool {
	if slices.Contains(egress.AllowedHosts, strings.ToLower(strings.TrimSuffix(name, "."))) {
		return true
	}
	if _, err := netip.ParseAddr(name); err != nil {
		return len(egress.AllowedCIDRs) > 0
	}
	return policy.NewRanges(egress.AllowedCIDRs).ContainsAddress(name)
}
