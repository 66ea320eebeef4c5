package kinds

import (
	"fmt"

	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// runtimeClassesSetting is the path of the settings of the host's runtime classes.
const runtimeClassesSetting = "sync.fromHost.runtimeClasses"

// shownClass returns the copy of the runtime class of the host that a pod names, nil if the
// tenant sees none of that name. Admission has asked the host itself. A pod that is older
// than the selector of classes is judged here.
func (p pods) shownClass(s syncer.Scope, name *string) (*nodev1.RuntimeClass, error) {
	if name == nil || *name == "" || !p.options.Sync.IsEnabled(runtimeClassesSetting) {
		return nil, nil //nolint:nilnil // Most pods name none.
	}
	var class nodev1.RuntimeClass
	err := s.Virtual.Get(s.Context, types.NamespacedName{Name: *name}, &class)
	switch {
	case apierrors.IsNotFound(err) || err == nil && class.Annotations[labels.HostUID] == "":
		return nil, nil //nolint:nilnil // The policy judges the name alone.
	case err != nil:
		return nil, fmt.Errorf("cannot get runtime class %s: %w", *name, err)
	}
	return &class, nil
}
