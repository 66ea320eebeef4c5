package kinds

import (
	nodev1 "k8s.io/api/node/v1"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// RuntimeClasses copies the host's runtime classes, which pods refer to by the same names. The virtual
// API server adds the overhead, the node selector and the tolerations of a class to each pod. The
// host does the same with its own class.
func RuntimeClasses(Options) syncer.Resource[*nodev1.RuntimeClass, *nodev1.RuntimeClass] {
	return sameNamed(func(host, virtual *nodev1.RuntimeClass) {
		virtual.Handler = host.Handler
		virtual.Overhead = host.Overhead
		virtual.Scheduling = host.Scheduling
	})
}
