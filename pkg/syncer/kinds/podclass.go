package kinds

import (
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// The paths of the settings of host classes that pods refer to.
const (
	runtimeClassesSetting  = "sync.fromHost.runtimeClasses"
	priorityClassesSetting = "sync.fromHost.priorityClasses"
)

// runtimeClass returns the runtime class of a pod, nil for none that it may use. It is a class of the
// host that the tenant sees, or the allowed part of a class of the tenant.
func (p *pods) runtimeClass(s syncer.Scope, virtual *corev1.Pod) (*nodev1.RuntimeClass, error) {
	name := virtual.Spec.RuntimeClassName
	if name == nil || *name == "" {
		return nil, nil //nolint:nilnil // Most pods name none.
	}
	if len(p.options.RuntimeHandlers) > 0 {
		_, class, err := p.ownClass(s, *name)
		return class, err
	}
	if !p.options.Sync.IsEnabled(runtimeClassesSetting) {
		return nil, nil //nolint:nilnil // The policy checks the name.
	}
	class := &nodev1.RuntimeClass{}
	shown, err := isShown(s, p.options.Sync.SelectorOf(runtimeClassesSetting), *name, class)
	if err != nil || !shown {
		return nil, err
	}
	return class, nil
}

// ownClass returns the host's runtime class for a class of the tenant, and the allowed part of the
// tenant's class.
func (p *pods) ownClass(s syncer.Scope, name string) (host string, allowed *nodev1.RuntimeClass, err error) {
	class := &nodev1.RuntimeClass{}
	found, err := lookUp(s, syncer.Virtual, types.NamespacedName{Name: name}, class)
	if err != nil || !found {
		return "", nil, err
	}
	host, allowed = policy.OwnClass(p.options.RuntimeHandlers, class)
	return host, allowed, nil
}

// enforced returns the fields that the operator sets in the host pod of a pod, with the host's classes
// for those that the pod names.
func (p *pods) enforced(s syncer.Scope, virtual *corev1.Pod) (translate.Enforced, error) {
	result := enforcedInAll(p.options.Sync.ToHost.Pods)
	var err error
	if result.NamedClass, err = p.priorityClass(s, virtual); err != nil {
		return result, err
	}
	if result.RuntimeClassName == "" {
		result.RuntimeClassName, err = p.hostClass(s, virtual)
	}
	return result, err
}

// hostClass returns the host's runtime class that replaces a class of the tenant, empty for none.
func (p *pods) hostClass(s syncer.Scope, virtual *corev1.Pod) (string, error) {
	name := virtual.Spec.RuntimeClassName
	if name == nil || *name == "" || len(p.options.RuntimeHandlers) == 0 {
		return "", nil
	}
	host, _, err := p.ownClass(s, *name)
	return host, err
}

// priorityClass returns the name of the priority class of the host that a pod names, empty if
// the tenant does not see it.
func (p *pods) priorityClass(s syncer.Scope, virtual *corev1.Pod) (string, error) {
	name := virtual.Spec.PriorityClassName
	if name == "" || isSystemClass(name) || !p.options.Sync.IsEnabled(priorityClassesSetting) {
		return "", nil
	}
	shown, err := isShown(s, p.options.Sync.SelectorOf(priorityClassesSetting), name, &schedulingv1.PriorityClass{})
	if err != nil || !shown {
		return "", err
	}
	return name, nil
}
