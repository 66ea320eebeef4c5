package integration

import (
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"

	"github.com/sublet-dev/sublet/pkg/controlplane"
)

// planeInformers gives an engine the control plane's informers, as the server does.
type planeInformers struct{ plane *controlplane.ControlPlane }

// InformerFor implements syncer.VirtualInformers.
func (p planeInformers) InformerFor(gvk schema.GroupVersionKind) (cache.SharedIndexInformer, bool) {
	resource, _ := meta.UnsafeGuessKindToResource(gvk)
	shared, err := p.plane.Informers().ForResource(resource)
	if err != nil {
		return nil, false
	}
	informer := shared.Informer()
	p.plane.Informers().Start(wait.NeverStop)
	return informer, true
}
