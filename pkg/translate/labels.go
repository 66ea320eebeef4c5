package translate

import (
	"strings"

	"github.com/sublet-dev/sublet/api/labels"
)

// maxReadableLabel and labelHash are the lengths of the two parts of a renamed
// label key: what a reader recognises, and what tells keys apart (80 bits).
// Together they fit in the 63 characters of a label's name.
const (
	maxReadableLabel = 36
	labelHash        = 16
)

// TenantLabel is the key that a tenant's label, annotation or scheduling gate
// bears on the host. No key of a tenant keeps its name there, so none can match a
// host Service, a network policy or the exemption of a webhook.
func TenantLabel(key string) string {
	readable := make([]byte, 0, maxReadableLabel)
	for i := 0; i < len(key) && len(readable) < maxReadableLabel; i++ {
		c := key[i]
		switch {
		case isAlphanumeric(c), c == '-', c == '.', c == '_':
			readable = append(readable, c)
		default:
			readable = append(readable, '_')
		}
	}
	digest := hash("label", key)[:labelHash]
	// A label's name begins with a letter or a digit.
	if start := strings.TrimLeft(string(readable), "-._"); start != "" {
		return labels.TenantPrefix + start + "-" + digest
	}
	return labels.TenantPrefix + digest
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// Labels are the labels of a host object: which virtual cluster and namespace it
// comes from, and the tenant's labels under their host keys.
func Labels(c Cluster, namespace string, virtual map[string]string) map[string]string {
	return SyncLabels(map[string]string{labels.Cluster: c.UID, labels.Namespace: namespace}, virtual)
}

// SyncLabels is host with the tenant's labels brought up to date: stale ones are
// gone, and what others wrote on the host is kept.
func SyncLabels(host, virtual map[string]string) map[string]string {
	synced := make(map[string]string, len(host)+len(virtual))
	for key, value := range host {
		if !strings.HasPrefix(key, labels.TenantPrefix) {
			synced[key] = value
		}
	}
	for key, value := range virtual {
		synced[TenantLabel(key)] = value
	}
	return synced
}
