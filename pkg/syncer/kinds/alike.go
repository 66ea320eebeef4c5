package kinds

import (
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// alike returns the resource of a kind with the settings that kinds have alike. A kind of the
// host has a selector. Of all others, some labels and annotations keep their keys on the host.
// The settings are empty for a kind that has its own.
func alike[V, H client.Object](setting string, o Options, r syncer.Resource[V, H]) syncer.Resource[V, H] {
	if r.Owner == syncer.Host {
		if selector := selected(o.Sync.SelectorOf(setting)); !selector.Empty() {
			r.Select = selector
		}
		return r
	}
	fill := r.Down
	if fill == nil {
		return r
	}
	kind := o.Sync.Kinds[setting]
	passesLabel, passesAnnotation := matches(o.Sync.LabelsOf(setting)), matches(o.Sync.AnnotationsOf(setting))
	r.Down = func(s syncer.Scope, virtual V, host H) error {
		if kind.CopiedLabels != nil {
			translate.DropCopiedLabels(host)
		}
		if err := fill(s, virtual, host); err != nil {
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
