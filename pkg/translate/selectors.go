package translate

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// toHostSelector returns the host selector for a label selector of the tenant, with renamed keys. It
// only selects objects of this virtual cluster in the given virtual namespaces. nil namespaces
// means all, and an empty list none. A nil selector stays nil, which selects nothing.
func toHostSelector(c Cluster, namespaces []string, selector *metav1.LabelSelector) *metav1.LabelSelector {
	if selector == nil {
		return nil
	}
	host := &metav1.LabelSelector{MatchLabels: map[string]string{labels.Cluster: c.UID}}
	for key, value := range selector.MatchLabels {
		host.MatchLabels[TenantLabel(key)] = value
	}
	for _, requirement := range selector.MatchExpressions {
		host.MatchExpressions = append(host.MatchExpressions, metav1.LabelSelectorRequirement{
			Key:      TenantLabel(requirement.Key),
			Operator: requirement.Operator,
			Values:   slices.Clone(requirement.Values),
		})
	}
	if namespaces != nil {
		host.MatchExpressions = append(host.MatchExpressions, inNamespaces(namespaces))
	}
	return host
}

// inNamespaces returns the requirement that limits a selector to virtual namespaces.
func inNamespaces(namespaces []string) metav1.LabelSelectorRequirement {
	values := slices.Compact(slices.Sorted(slices.Values(namespaces)))
	if len(values) == 0 {
		// The operator In needs a value. No namespace has this name.
		values = []string{""}
	}
	return metav1.LabelSelectorRequirement{
		Key:      labels.Namespace,
		Operator: metav1.LabelSelectorOpIn,
		Values:   values,
	}
}

// ServiceSelector returns the host selector for the selector of a Service. For a Service without a selector it
// returns one that matches no pod. Without any, the host's controllers would leave the endpoints of a former
// selector as they are, and their addresses may go to pods of others.
func ServiceSelector(c Cluster, namespace string, selector map[string]string) map[string]string {
	if len(selector) == 0 {
		return map[string]string{labels.Cluster: c.UID, labels.Namespace: ""} // No namespace has this name.
	}
	return newHostLabels(c, namespace, selector)
}

// Selector returns the host selector for a label selector of a custom resource. It only selects
// objects of the virtual namespace.
func Selector(c Cluster, namespace string, selector *metav1.LabelSelector) *metav1.LabelSelector {
	return toHostSelector(c, []string{namespace}, selector)
}

// SelectorLabels returns the host selector for a map of labels that selects objects of a virtual
// namespace.
func SelectorLabels(c Cluster, namespace string, selector map[string]string) map[string]string {
	return newHostLabels(c, namespace, selector)
}
