package syncer

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// Options configure an engine.
type Options struct {
	// Cluster is the identity of the virtual cluster on its host.
	Cluster translate.Cluster
	// Virtual and Host connect to the two API servers. client-go's limits are lifted. A
	// [HostLimiter] that Host passes remains.
	Virtual, Host *rest.Config
	// VirtualInformers has shared informers of the virtual cluster, which the engine
	// uses instead of watches of its own. Default: none.
	VirtualInformers VirtualInformers
	// InformerMonitor observes the lists and watches of VirtualInformers. Default: nobody does, so
	// that a failure of them is not seen.
	InformerMonitor *InformerMonitor
	// ObjectLimits bound the copies on the host. Default: no limit.
	ObjectLimits ObjectLimits
	// MayWrite returns why this replica must not write to the host now, nil if it
	// may. All writes to the host stop at once while it returns a reason, and
	// continue after it. Default: it always may.
	MayWrite func() error
	// Restore returns the ID of the last restore of the virtual store, empty if it was never
	// restored. Default: it was never restored.
	Restore func() string
	// Opened returns the version of the virtual store when this process opened it, and the one that the
	// anchor recorded then. Both are empty if they are not known. Default: they are not.
	Opened func() (opened, recorded string)
	// StoreVersion returns the version that the virtual store has now, empty if it is not known. It must not come from a
	// cache. Default: it is not known.
	StoreVersion func(ctx context.Context) (string, error)
	// Standby only keeps the caches up to date until Lead is called. Default: the engine leads
	// as soon as it runs.
	Standby bool
	// Kinds are the kinds to start with. [Engine.Add] adds more at any time.
	Kinds []Kind
	// Leftovers are the kinds that are switched off. Their copies are deleted, those on the host if
	// its RBAC permits it. Default: none.
	Leftovers []Leftover
	// Workers is the number of concurrent reconciles per kind. Default: 16.
	Workers int
	// FullScan is the time between two full scans, which reconcile all objects as if there were
	// no watches. Default: 10 minutes. The first scan comes after a tenth of it.
	FullScan time.Duration
	// Scheme has the types of the kinds. Default: those of client-go.
	Scheme *runtime.Scheme
	// Clock is the time. Default: the real one.
	Clock clock.WithTicker
	// Log is the logger. Default: klog.
	Log logr.Logger
}

// withDefaults returns the options with defaults for what they leave out.
func withDefaults(options Options) Options {
	if options.Workers == 0 {
		options.Workers = 16
	}
	if options.FullScan == 0 {
		options.FullScan = 10 * time.Minute
	}
	if options.Scheme == nil {
		options.Scheme = scheme.Scheme
	}
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	if options.MayWrite == nil {
		options.MayWrite = func() error { return nil }
	}
	if options.Restore == nil {
		options.Restore = func() string { return "" }
	}
	if options.Opened == nil {
		options.Opened = func() (opened, recorded string) { return "", "" }
	}
	if options.StoreVersion == nil {
		options.StoreVersion = func(context.Context) (string, error) { return "", nil }
	}
	if options.Log.GetSink() == nil {
		options.Log = klog.Background().WithName("syncer")
	}
	return options
}
