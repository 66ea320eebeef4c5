package kinds

import (
	networkingv1 "k8s.io/api/networking/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// IngressClasses shows the host's ingress classes, which the tenant's Ingresses name as they
// are. It leaves out parameters: they name objects of the host, and only its controllers
// read them.
func IngressClasses(Options) syncer.Resource[*networkingv1.IngressClass, *networkingv1.IngressClass] {
	return syncer.Resource[*networkingv1.IngressClass, *networkingv1.IngressClass]{
		Owner:  syncer.Host,
		Names:  translate.Same,
		Origin: sameName[*networkingv1.IngressClass],
		Select: apilabels.Everything(),
		Want:   isOfOriginal[*networkingv1.IngressClass],
		Up: func(_ syncer.Scope, host, virtual *networkingv1.IngressClass) error {
			copyMetadata(host, virtual, networkingv1.AnnotationIsDefaultIngressClass)
			virtual.Spec.Controller = host.Spec.Controller
			return nil
		},
	}
}
