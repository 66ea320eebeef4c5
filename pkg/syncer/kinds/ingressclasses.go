package kinds

import (
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// IngressClasses copies the host's ingress classes, which Ingresses refer to by the same names. It
// omits the parameters, which refer to objects of the host.
func IngressClasses(Options) syncer.Resource[*networkingv1.IngressClass, *networkingv1.IngressClass] {
	return sameNamed(func(host, virtual *networkingv1.IngressClass) {
		virtual.Spec.Controller = host.Spec.Controller
	}, networkingv1.AnnotationIsDefaultIngressClass)
}
