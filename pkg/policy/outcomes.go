package policy

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// Outcome is what becomes of the objects of a resource.
type Outcome string

// The outcomes. There is no other one: nothing is accepted without effect and without a warning.
const (
	// Served means that the virtual cluster itself acts on the objects.
	Served Outcome = "served"
	// Synced means that a kind copies the objects to the host.
	Synced Outcome = "synced"
	// Limited means that they have no effect, or not all. Who creates one is warned or denied.
	Limited Outcome = "limited"
)

// ResourceOutcome is what becomes of the objects of one resource, and why.
type ResourceOutcome struct {
	Resource schema.GroupResource
	Outcome  Outcome
	// Reason is who acts on the objects, the setting of the kind that copies them, or what
	// is missing. Empty if nobody has written it down.
	Reason string
}

// Outcomes returns the outcome of each resource that Kubernetes has built in, and of some
// that are not, sorted by group and name.
func Outcomes(settings *v1alpha1.Config) []ResourceOutcome {
	var all []ResourceOutcome
	for resource, row := range effectRows() {
		o := ResourceOutcome{Resource: resource}
		setting := kindSetting(settings, row.kindThatCopies(resource.Resource))
		effect := row.effectOn(resource.Resource, settings)
		switch {
		case effect.Detail != "":
			o.Outcome, o.Reason = Limited, effect.Detail
		case setting != "" && settings.Sync.IsEnabled(setting):
			o.Outcome, o.Reason = Synced, setting
		default:
			o.Outcome, o.Reason = Served, row.actor
		}
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b ResourceOutcome) int {
		return cmp.Or(strings.Compare(a.Resource.Group, b.Resource.Group), strings.Compare(a.Resource.Resource, b.Resource.Resource))
	})
	return all
}
