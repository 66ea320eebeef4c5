package kinds

import (
	"fmt"

	schedulingv1 "k8s.io/api/scheduling/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// PriorityClasses copies the host's priority classes, which pods refer to by the same names. It omits
// those that are built into Kubernetes: both sides have them, and pods of tenants never get them on
// the host.
func PriorityClasses(Options) syncer.Resource[*schedulingv1.PriorityClass, *schedulingv1.PriorityClass] {
	return syncer.Resource[*schedulingv1.PriorityClass, *schedulingv1.PriorityClass]{
		Owner: syncer.Host,
		Names: translate.Same,
		Origin: func(s syncer.Scope, host *schedulingv1.PriorityClass) (types.NamespacedName, bool) {
			key, _ := sameName(s, host)
			return key, !isSystemClass(host.Name)
		},
		Select: apilabels.Everything(),
		Want:   isOfOriginal[*schedulingv1.PriorityClass],
		Up:     fillPriorityClass,
		Also: []syncer.Watch{
			{Side: syncer.Virtual, Object: &schedulingv1.PriorityClass{}, Keys: defaultPriorityClasses},
		},
	}
}

// fillPriorityClass fills in the virtual class. The host's default class is also that of the virtual
// cluster, unless the tenant has another one: the API server only allows one.
func fillPriorityClass(s syncer.Scope, host, virtual *schedulingv1.PriorityClass) error {
	copyMetadata(host, virtual)
	virtual.Value = host.Value
	virtual.PreemptionPolicy = host.PreemptionPolicy
	virtual.Description = host.Description
	virtual.GlobalDefault = host.GlobalDefault
	if !host.GlobalDefault {
		return nil
	}
	var classes schedulingv1.PriorityClassList
	if err := s.Virtual.List(s.Context, &classes, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("cannot list virtual priority classes: %w", err)
	}
	for i := range classes.Items {
		if classes.Items[i].GlobalDefault && classes.Items[i].Name != host.Name {
			virtual.GlobalDefault = false
		}
	}
	return nil
}

// defaultPriorityClasses returns the default classes of the host. They may become the default of the
// virtual cluster when a virtual class changes.
func defaultPriorityClasses(s syncer.Scope, _ client.Object) ([]types.NamespacedName, error) {
	var classes schedulingv1.PriorityClassList
	if err := s.Host.List(s.Context, &classes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list priority classes of the host: %w", err)
	}
	return keysOf(classes.Items, func(class *schedulingv1.PriorityClass) bool { return class.GlobalDefault }), nil
}
