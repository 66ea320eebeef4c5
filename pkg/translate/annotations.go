package translate

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// SyncAnnotations returns the annotations of a host object, updated with those of the virtual
// object that pass. It removes copied ones that no longer pass, and keeps those that others
// have added on the host. Keys of Sublet and of kubectl never pass.
func SyncAnnotations(host, virtual map[string]string, passes func(key, value string) bool) map[string]string {
	synced := maps.Clone(host)
	for key := range strings.SplitSeq(host[labels.CopiedAnnotations], ",") {
		delete(synced, key)
	}
	delete(synced, labels.CopiedAnnotations)
	var copied []string
	for key, value := range virtual {
		if IsOurs(key) || key == corev1.LastAppliedConfigAnnotation || !passes(key, value) {
			continue
		}
		if synced == nil {
			synced = map[string]string{}
		}
		synced[key] = value
		copied = append(copied, key)
	}
	if len(copied) > 0 {
		slices.Sort(copied)
		synced[labels.CopiedAnnotations] = strings.Join(copied, ",")
	}
	return synced
}

// DropCopiedLabels removes the labels of a host object that [AddCopiedLabels] has added.
func DropCopiedLabels(host metav1.Object) {
	copied, ok := host.GetAnnotations()[labels.CopiedLabels]
	if !ok {
		return
	}
	kept := maps.Clone(host.GetLabels())
	for key := range strings.SplitSeq(copied, ",") {
		delete(kept, key)
	}
	annotations := maps.Clone(host.GetAnnotations())
	delete(annotations, labels.CopiedLabels)
	host.SetLabels(kept)
	host.SetAnnotations(annotations)
}

// AddCopiedLabels adds the tenant's labels that pass to a host object, with their own keys.
// Existing labels stay as they are, and reserved keys never pass. If the instance label is
// that of the release, no recommended label passes. A ServiceMonitor would otherwise select
// the object as a part of the release.
func AddCopiedLabels(c Cluster, host metav1.Object, virtual map[string]string, passes func(key string) bool) {
	all := maps.Clone(host.GetLabels())
	var copied []string
	for key, value := range virtual {
		if _, ok := all[key]; ok || IsReservedKey(key) || !passes(key) {
			continue
		}
		if strings.HasPrefix(key, recommendedPrefix) && virtual[instanceLabel] == c.Name {
			continue
		}
		if all == nil {
			all = map[string]string{}
		}
		all[key] = value
		copied = append(copied, key)
	}
	if len(copied) == 0 {
		return
	}
	slices.Sort(copied)
	host.SetLabels(all)
	SetAnnotation(host, labels.CopiedLabels, strings.Join(copied, ","))
}

// IsReservedKey reports whether a label or annotation key belongs to Sublet or Kubernetes. The
// recommended labels of Kubernetes are not reserved.
func IsReservedKey(key string) bool {
	if IsOurs(key) {
		return true
	}
	domain, _, hasDomain := strings.Cut(key, "/")
	if !hasDomain || strings.HasPrefix(key, recommendedPrefix) {
		return false
	}
	return slices.ContainsFunc([]string{"kubernetes.io", "k8s.io"}, func(reserved string) bool {
		return domain == reserved || strings.HasSuffix(domain, "."+reserved)
	})
}

// IsOurs reports whether a label or annotation key belongs to Sublet.
func IsOurs(key string) bool {
	domain, _, _ := strings.Cut(key, "/")
	return domain == labels.Domain || strings.HasSuffix(domain, "."+labels.Domain)
}

// SetAnnotation sets an annotation of an object. It replaces the map of annotations, which
// other objects may share.
func SetAnnotation(object metav1.Object, key, value string) {
	object.SetAnnotations(mergeMaps(object.GetAnnotations(), map[string]string{key: value}))
}

// RemoveAnnotation removes an annotation from an object. Like [SetAnnotation], it replaces the
// map.
func RemoveAnnotation(object metav1.Object, key string) {
	if _, ok := object.GetAnnotations()[key]; !ok {
		return
	}
	annotations := maps.Clone(object.GetAnnotations())
	delete(annotations, key)
	if len(annotations) == 0 {
		annotations = nil
	}
	object.SetAnnotations(annotations)
}
