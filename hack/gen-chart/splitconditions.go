package main

const splitSettings = "$v.controlPlane.advanced.split"

// severalBackupReplicas returns the condition that several replicas mount the claim of backups.
func severalBackupReplicas() string {
	return "(ternary (gt (int " + splitSettings + ".replicas) 1) " + severalReplicas() + " " + splitSettings + ".enabled)"
}

// splitConditions returns the conditions of the combinations of a control plane in two workloads.
func splitConditions() map[string]string {
	const (
		on    = "and " + splitSettings + ".enabled "
		store = "$v.controlPlane.backingStore"
		from  = store + ".moveFrom"
	)
	return map[string]string{
		"split-of-own-store": on + "(not (or " + store + ".etcd.external.enabled " + store + ".database.external.enabled))",
		"split-while-moving": on + "(or " + from + ".etcd.embedded.enabled " + from + ".etcd.external.enabled " +
			from + ".database.embedded.enabled " + from + ".database.external.enabled)",
		"split-while-restoring": on + store + ".backup.restoreFrom",
	}
}
