package translate

import (
	"strings"

	"github.com/sublet-dev/sublet/api/labels"
)

// maxReadableLabel and labelHash are the lengths of the two parts of a renamed label key. The
// first is the start of the original key, the second 80 bits of a hash. Together they fit in
// the 63 characters of the name of a label.
const (
	maxReadableLabel = 36
	labelHash        = 16
)

// TenantLabel returns the host key of a tenant's label, annotation or scheduling gate. As keys
// are renamed, a tenant's pod can match no selector of a host Service, network policy or
// webhook.
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

// isAlphanumeric reports whether c is an ASCII letter or digit.
func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// newHostLabels returns the labels of a host object: its virtual cluster, its virtual namespace,
// and the tenant's labels under their host keys.
func newHostLabels(c Cluster, namespace string, virtual map[string]string) map[string]string {
	return SyncLabels(map[string]string{labels.Cluster: c.UID, labels.Namespace: namespace}, virtual)
}

// SyncLabels returns the labels of a host object, updated with the tenant's labels under their
// host keys. It removes stale ones and keeps those that others have added on the host.
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
