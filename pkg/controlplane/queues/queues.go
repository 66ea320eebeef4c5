// Package queues switches the metrics of upstream's work queues off.
//
// A queue with metrics wakes twice a second to measure work that runs. The API server and
// the controllers have about 70 queues: they would be most of what an idle process does.
// client-go starts no such timer under its own provider of metrics, which it replaces when
// a package of component-base is linked. No option prevents that. The queues of the syncer
// have metrics of their own.
package queues

import (
	_ "unsafe" // for go:linkname

	"k8s.io/client-go/util/workqueue"
)

// upstream is client-go's provider of metrics. Nothing here writes it.
//
//go:linkname upstream k8s.io/client-go/util/workqueue.globalMetricsProvider
var upstream workqueue.MetricsProvider //nolint:gochecknoglobals // the variable is client-go's

// kept keeps client-go's own provider: the first one that is set stays. Packages are
// initialized in the order of their paths where imports leave a choice, so this one comes
// before all of k8s.io.
var _ = keepProvider(upstream)

// keepProvider sets the provider. It returns false if there is none, and changes nothing.
func keepProvider(provider workqueue.MetricsProvider) bool {
	if provider == nil {
		return false
	}
	workqueue.SetProvider(provider)
	return true
}
