package kinds

import (
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// IngressClasses shows the host's ingress classes, which the tenant's Ingresses name as they
// are. It leaves out parameters: they name objects of the host, and only its controllers
// read them.
func IngressClasses(Options) syncer.Resource[*networkingv1.IngressClass, *networkingv1.IngressClass] {
	return sameNamed(func(host, virtual *networkingv1.IngressClass) {
		virtual.Spec.Controller = host.Spec.Controller
	}, networkingv1.AnnotationIsDefaultIngressClass)
}
