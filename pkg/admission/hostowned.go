package admission

import (
	"context"
	"fmt"

	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// hostOwned is a kind without a namespace whose objects the virtual cluster has from the host.
type hostOwned struct {
	setting  string // of the kind
	resource schema.GroupResource
	noun     string // for messages
}

// hostOwnedKinds returns the kinds whose copies nobody but the syncer writes.
func hostOwnedKinds() []hostOwned {
	return []hostOwned{
		{"sync.fromHost.runtimeClasses", nodev1.Resource("runtimeclasses"), "runtime class"},
	}
}

// addHostOwnedChecks adds the check of each kind of the host that is on.
func addHostOwnedChecks(checks Checks, settings *v1alpha1.Config) {
	for _, kind := range hostOwnedKinds() {
		if settings.Sync.IsEnabled(kind.setting) {
			checks.Add(kind.resource, kind.check)
		}
	}
}

// check denies changes of what the host owns. The annotation with the UID of the host object
// shows what that is, and no tenant can write it.
func (h hostOwned) check(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) (Judgement, error) {
	old, object := hostUIDOf(a.GetOldObject()), hostUIDOf(a.GetObject())
	switch {
	case old != "":
		return Judgement{Violations: []policy.Violation{{
			Field: "metadata.name", Value: nameOf(a), Detail: fmt.Sprintf("this %s is the host's and cannot be changed here", h.noun),
		}}}, nil
	case object != "":
		return Judgement{Violations: []policy.Violation{{
			Field: "metadata.annotations[" + labels.HostUID + "]", Value: object, Detail: "only the syncer writes it",
		}}}, nil
	}
	return Judgement{}, nil
}

// hostUIDOf returns the UID of the host object that an object is the copy of, empty if it is
// none.
func hostUIDOf(object any) string {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return ""
	}
	return accessor.GetAnnotations()[labels.HostUID]
}
