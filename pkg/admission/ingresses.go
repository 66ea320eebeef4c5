package admission

import (
	"context"
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// ingressCheck evaluates the Ingresses that controllers of the host serve.
type ingressCheck struct {
	rules *policy.Ingresses
	host  HostView
}

// addIngressChecks adds the check of Ingresses. Where they are not synced, none of them
// reaches the host.
func addIngressChecks(checks Checks, settings *v1alpha1.Config, host HostView) {
	if settings.Sync.IsEnabled("sync.toHost.ingresses") {
		checks.Add(networkingv1.Resource("ingresses"), ingressCheck{policy.NewIngresses(settings), host}.check)
	}
}

// check evaluates an Ingress, or warns that no controller of the host serves it.
func (c ingressCheck) check(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) (Decision, error) {
	ingress, old, err := writtenObject[networkingv1.Ingress](a, o)
	if err != nil || ingress == nil || ingress.DeletionTimestamp != nil {
		return Decision{}, err
	}
	isHosts, err := c.isHosts(ctx, ingress)
	if err != nil {
		return Decision{}, unknownHost(a, err)
	}
	class := policy.IngressClass(ingress)
	if !isHosts && old != nil && policy.IngressClass(old) == class {
		return Decision{}, nil
	}
	if !isHosts {
		return Decision{Warnings: []string{fmt.Sprintf("spec.ingressClassName: %q: no controller of the host serves this class, "+
			"so the Ingress has an effect only if a controller for it runs in this virtual cluster. "+
			"The operator of the host can change this with policies.ingresses.classes.", class)}}, nil
	}
	if old, err = c.ifChecked(ctx, old, class); err != nil {
		return Decision{}, unknownHost(a, err)
	}
	return Decision{Violations: c.rules.Check(old, ingress), Warnings: c.rules.Warnings(old, ingress)}, nil
}

// ifChecked returns the stored Ingress if it was checked when it was written: it has the same class, or one of the host.
// It returns nil for another one, as for none.
func (c ingressCheck) ifChecked(ctx context.Context, old *networkingv1.Ingress, class string) (*networkingv1.Ingress, error) {
	if old == nil || policy.IngressClass(old) == class {
		return old, nil
	}
	if wasHosts, err := c.isHosts(ctx, old); err != nil || !wasHosts {
		return nil, err
	}
	return old, nil
}

// isHosts reports whether a controller of the host serves an Ingress.
func (c ingressCheck) isHosts(ctx context.Context, ingress *networkingv1.Ingress) (bool, error) {
	var shown []networkingv1.IngressClass
	if class := policy.IngressClass(ingress); c.rules.ShowsClasses && class != "" {
		found, err := c.host.ShowsIngressClass(ctx, class)
		if err != nil {
			return false, err
		}
		if found {
			shown = append(shown, networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: class}})
		}
	}
	_, isHosts := c.rules.HostClass(ingress, shown)
	return isHosts, nil
}
