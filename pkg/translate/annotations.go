package translate

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// SyncAnnotations returns host with those of the tenant's annotations that pass, brought up
// to date. It drops stale ones and keeps what others wrote on the host. Keys of Sublet and
// of kubectl never pass.
func SyncAnnotations(host, virtual map[string]string, passes func(key, value string) bool) map[string]string {
	synced := maps.Clone(host)
	for key := range strings.SplitSeq(host[labels.CopiedAnnotations], ",") {
		delete(synced, key)
	}
	delete(synced, labels.CopiedAnnotations)
	var copied []string
	for key, value := range virtual {
		if isOurs(key) || key == corev1.LastAppliedConfigAnnotation || !passes(key, value) {
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

// isOurs reports whether a key is one that only Sublet writes.
func isOurs(key string) bool {
	domain, _, _ := strings.Cut(key, "/")
	return domain == labels.Domain || strings.HasSuffix(domain, "."+labels.Domain)
}
