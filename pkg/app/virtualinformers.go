package app

import (
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/sublet-dev/sublet/pkg/controlplane"
)

// virtualInformers lets the syncer use the informers that the API server and the
// controllers share, so that the process holds each virtual object once. It
// implements syncer.VirtualInformers.
type virtualInformers struct {
	controlPlane *controlplane.ControlPlane
	// done ends the informers that the syncer alone has asked for. It must outlive
	// every leader term.
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
		return nil, false // The factory has built-in types only.
	}
	informer := shared.Informer()
	factory.Start(v.done)
	return informer, true
}
