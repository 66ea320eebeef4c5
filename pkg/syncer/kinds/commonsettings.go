package kinds

import (
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// withCommonSettings applies the settings that all kinds have in common to a resource. Kinds of the
// host have a label selector. Kinds of the virtual side have lists of labels and annotations that
// keep their keys on the host. Settings that a kind defines itself are empty here.
func withCommonSettings[V, H client.Object](setting string, o Options, r syncer.Resource[V, H]) syncer.Resource[V, H] {
	if r.Owner == syncer.Host {
		if selector := toSelector(o.Sync.SelectorOf(setting)); !selector.Empty() {
			r.Select = selector
		}
		return r
	}
	down := r.Down
	if down == nil {
		return r
	}
	kind := o.Sync.Kinds[setting]
	passesLabel, passesAnnotation := matches(o.Sync.LabelsOf(setting)), matches(o.Sync.AnnotationsOf(setting))
	r.Down = func(s syncer.Scope, virtual V, host H) error {
		if kind.CopiedLabels != nil {
			translate.DropCopiedLabels(host)
		}
		if err := down(s, virtual, host); err != nil {
			return err
		}
		if kind.CopiedLabels != nil {
			translate.AddCopiedLabels(s.Cluster, host, virtual.GetLabels(), passesLabel)
		}
		if kind.CopiedAnnotations != nil {
			host.SetAnnotations(translate.SyncAnnotations(host.GetAnnotations(), virtual.GetAnnotations(), func(key, _ string) bool {
				return !translate.IsReservedKey(key) && passesAnnotation(key)
			}))
		}
		return nil
	}
	return r
}
