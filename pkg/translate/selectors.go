package translate

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// toHostSelector returns the host's form of a tenant's label selector, with renamed keys. It
// selects only in this virtual cluster and in namespaces. nil namespaces means every
// namespace; an empty list selects nothing. A nil selector stays nil, which selects
// nothing.
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
		// An operator In needs a value; no namespace is called "".
		values = []string{""}
	}
	return metav1.LabelSelectorRequirement{
		Key:      labels.Namespace,
		Operator: metav1.LabelSelectorOpIn,
		Values:   values,
	}
}

// ServiceSelector returns the host's form of a Service's selector in a virtual namespace.
// A Service without selector keeps none, as somebody else manages its endpoints.
func ServiceSelector(c Cluster, namespace string, selector map[string]string) map[string]string {
	if len(selector) == 0 {
		return nil
	}
	return newHostLabels(c, namespace, selector)
}

// Selector returns the host's form of a label selector of a custom resource. It selects in
// the virtual namespace alone.
func Selector(c Cluster, namespace string, selector *metav1.LabelSelector) *metav1.LabelSelector {
	return toHostSelector(c, []string{namespace}, selector)
}

// SelectorLabels returns the host's form of a map of labels that selects objects in a virtual
// namespace.
func SelectorLabels(c Cluster, namespace string, selector map[string]string) map[string]string {
	return newHostLabels(c, namespace, selector)
}
