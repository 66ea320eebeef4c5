package kinds

import (
	nodev1 "k8s.io/api/node/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// RuntimeClasses shows the host's runtime classes, which pods name as they are. The virtual
// API server adds the overhead, the node selector and the tolerations of a class to each
// pod that names it. The host does the same with its own class.
func RuntimeClasses(Options) syncer.Resource[*nodev1.RuntimeClass, *nodev1.RuntimeClass] {
	return syncer.Resource[*nodev1.RuntimeClass, *nodev1.RuntimeClass]{
		Owner:  syncer.Host,
		Names:  translate.Same,
		Origin: sameName[*nodev1.RuntimeClass],
		Select: apilabels.Everything(),
		Want:   isOfOriginal[*nodev1.RuntimeClass],
		Up: func(_ syncer.Scope, host, virtual *nodev1.RuntimeClass) error {
			copyMetadata(host, virtual)
			virtual.Handler = host.Handler
			virtual.Overhead = host.Overhead
			virtual.Scheduling = host.Scheduling
			return nil
		},
	}
}
