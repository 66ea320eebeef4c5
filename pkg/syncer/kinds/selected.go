package kinds

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// selected returns the selector of the objects of a kind that the tenant sees. A selector
// that is not valid selects nothing.
func selected(settings metav1.LabelSelector) apilabels.Selector {
	selector, err := metav1.LabelSelectorAsSelector(&settings)
	if err != nil {
		return apilabels.Nothing()
	}
	if selector.Empty() {
		return apilabels.Everything()
	}
	return selector
}

// isShown gets a class of the host and reports whether the tenant sees it. The copy in the
// virtual cluster proves nothing: a tenant may have made an object of that name before.
func isShown(s syncer.Scope, settings metav1.LabelSelector, name string, class client.Object) (bool, error) {
	found, err := lookUp(s, syncer.Host, types.NamespacedName{Name: name}, class)
	return found && selected(settings).Matches(apilabels.Set(class.GetLabels())), err
}

// sameNamed returns the resource of host objects without a namespace that the tenant sees under
// their own names. up fills in the copy. It has the labels of its original, and of the
// annotations those with these keys.
func sameNamed[T client.Object](up func(host, virtual T), annotations ...string) syncer.Resource[T, T] {
	return syncer.Resource[T, T]{
		Owner:  syncer.Host,
		Names:  translate.Same,
		Origin: sameName[T],
		Select: apilabels.Everything(),
		Want:   isOfOriginal[T],
		Up: func(_ syncer.Scope, host, virtual T) error {
			copyMetadata(host, virtual, annotations...)
			up(host, virtual)
			return nil
		},
	}
}

// isOfOriginal reports whether the copy of a host object, if any, is of that very object. One
// that was deleted and created again may differ in fields that never change, so that its
// copy is created again.
func isOfOriginal[T client.Object](_ syncer.Scope, virtual, host T) (bool, error) {
	if client.Object(virtual) == client.Object(*new(T)) {
		return true, nil
	}
	return translate.IsOfHostObject(virtual, host), nil
}

// copyMetadata gives a copy of a host object the labels of its original, and of the
// annotations those with these keys.
func copyMetadata(host, virtual client.Object, keys ...string) {
	annotations := map[string]string{labels.HostUID: virtual.GetAnnotations()[labels.HostUID]}
	for _, key := range keys {
		if value, ok := host.GetAnnotations()[key]; ok {
			annotations[key] = value
		}
	}
	virtual.SetLabels(host.GetLabels())
	virtual.SetAnnotations(annotations)
}

// isSystemClass reports whether Kubernetes has reserved the name of a priority class.
func isSystemClass(name string) bool { return strings.HasPrefix(name, "system-") }

// matches returns the predicate of a list of keys and prefixes.
func matches(patterns []string) func(key string) bool {
	return func(key string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool { return policy.MatchesKey(pattern, key) })
	}
}
