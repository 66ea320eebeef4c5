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

// toSelector converts a selector of the settings. An invalid one selects nothing, and an empty one
// everything.
func toSelector(settings metav1.LabelSelector) apilabels.Selector {
	selector, err := metav1.LabelSelectorAsSelector(&settings)
	if err != nil {
		return apilabels.Nothing()
	}
	if selector.Empty() {
		return apilabels.Everything()
	}
	return selector
}

// isShown reads a class of the host into class and reports whether the tenant sees it. A virtual object
// of that name proves nothing, because the tenant may have created it.
func isShown(s syncer.Scope, settings metav1.LabelSelector, name string, class client.Object) (bool, error) {
	found, err := lookUp(s, syncer.Host, types.NamespacedName{Name: name}, class)
	return found && toSelector(settings).Matches(apilabels.Set(class.GetLabels())), err
}

// sameNamed returns the resource of a kind whose cluster-scoped host objects have copies of the same
// name. up fills in the copy. It also gets the labels and the listed annotations of its original.
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

// isOfOriginal reports whether a virtual object is the copy of this very host object, or does not exist.
// If the host object was created again, immutable fields may differ, so its copy is created again
// too.
func isOfOriginal[T client.Object](_ syncer.Scope, virtual, host T) (bool, error) {
	if client.Object(virtual) == client.Object(*new(T)) {
		return true, nil
	}
	return translate.IsOfHostObject(virtual, host), nil
}

// copyMetadata copies the labels and the listed annotations of a host object to its virtual copy.
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

// isSystemClass reports whether the name of a priority class is reserved for Kubernetes.
func isSystemClass(name string) bool { return strings.HasPrefix(name, "system-") }

// matches returns a function that reports whether a key matches one of the patterns.
func matches(patterns []string) func(key string) bool {
	return func(key string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool { return policy.MatchesKey(pattern, key) })
	}
}
