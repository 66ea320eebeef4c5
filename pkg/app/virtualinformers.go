package app

import (
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/sublet-dev/sublet/pkg/controlplane"
)

// virtualInformers lets the syncer use the informers that the API server and the controllers
// share. So the process caches each virtual object only once. It implements
// [syncer.VirtualInformers].
type virtualInformers struct {
	controlPlane *controlplane.ControlPlane
	// done stops the informers that only the syncer uses. It must outlive every leader term.
	done <-chan struct{}
}

// InformerFor implements syncer.VirtualInformers.
func (v virtualInformers) InformerFor(gvk schema.GroupVersionKind) (cache.SharedIndexInformer, bool) {
	select {
	case <-v.controlPlane.Ready():
	default:
		return nil, false
	}
	factory := v.controlPlane.Informers()
	resource, _ := meta.UnsafeGuessKindToResource(gvk)
	shared, err := factory.ForResource(resource)
	if err != nil {
		return nil, false // The factory only knows built-in types.
	}
	informer := shared.Informer()
	factory.Start(v.done)
	return informer, true
}
