package main

import (
	"strings"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// storeConditions returns the conditions of the combinations of stores.
func storeConditions() map[string]string {
	const (
		external = "$v.controlPlane.backingStore.etcd.external"
		database = "$v.controlPlane.backingStore.database"
		replicas = "$v.controlPlane.statefulSet.highAvailability"
	)
	return map[string]string{
		"one-store":                        oneStore(),
		"external-etcd-without-endpoint":   "and " + external + ".enabled (not " + external + ".endpoint)",
		"external-etcd-half-a-certificate": "ne (empty " + external + ".tls.certFile) (empty " + external + ".tls.keyFile)",
		"external-etcd-plain-with-secret":  "and " + external + ".tls.secret (hasPrefix \"http://\" " + external + ".endpoint)",
		"database-without-source": "and " + database + ".external.enabled (not " + database + ".external.dataSource) " +
			"(not " + database + ".external.dataSourceSecret.name)",
		"database-with-two-sources":   "and " + database + ".external.dataSource " + database + ".external.dataSourceSecret.name",
		"database-half-a-certificate": "ne (empty " + database + ".external.certFile) (empty " + database + ".external.keyFile)",
		"replicas-of-sqlite":          "and " + database + ".embedded.enabled " + replicas + ".enabled (gt (int " + replicas + ".replicas) 1)",
	}
}

// moveConditions returns the conditions of the combinations of moves.
func moveConditions() map[string]string {
	const from = "$v.controlPlane.backingStore.moveFrom"
	enabled := []string{"(" + from + ".etcd.embedded.enabled)"}
	for _, store := range v1alpha1.OtherStores() {
		enabled = append(enabled, "("+from+"."+string(store)+".enabled)")
	}
	sources := strings.Join(enabled, " ")
	return map[string]string{
		"move-from-several":       "gt (len (without (list " + sources + ") false)) 1",
		"move-from-itself":        "and " + from + ".etcd.embedded.enabled " + usesEmbeddedEtcd(),
		"move-from-itself-sqlite": "and " + from + ".database.embedded.enabled $v.controlPlane.backingStore.database.embedded.enabled",
		"move-from-without-source": "and " + from + ".database.external.enabled (not " + from + ".database.external.dataSource) " +
			"(not " + from + ".database.external.dataSourceSecret.name)",
		"move-from-without-endpoint": "and " + from + ".etcd.external.enabled (not " + from + ".etcd.external.endpoint)",
	}
}

// oneStore returns the condition that not exactly one store is enabled.
func oneStore() string {
	embedded, enabled := enabledStores()
	return "or (gt " + enabled + " (ternary 0 1 (eq " + embedded + " \"true\"))) " +
		"(and (eq " + enabled + " 0) (eq " + embedded + " \"false\"))"
}

// usesEmbeddedEtcd returns the expression that the default store is in use.
func usesEmbeddedEtcd() string {
	_, enabled := enabledStores()
	return "(eq " + enabled + " 0)"
}

// enabledStores returns expressions: the setting of the default store as text, and the number
// of other stores that are enabled.
func enabledStores() (embedded, enabled string) {
	var others strings.Builder
	for _, store := range v1alpha1.OtherStores() {
		others.WriteString(" (" + access(store.Setting()) + ")")
	}
	return "(toString (" + access(v1alpha1.StoreEmbeddedEtcd.Setting()) + "))", "(len (without (list" + others.String() + ") false))"
}
