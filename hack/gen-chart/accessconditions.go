package main

// accessConditions returns the conditions of the combinations of ways to the virtual API and to
// what its store keeps.
func accessConditions() map[string]string {
	const audit = "$v.controlPlane.advanced.audit"
	return map[string]string{
		"encryption-without-resources": "and $v.controlPlane.advanced.encryption.enabled " +
			"(not $v.controlPlane.advanced.encryption.resources)",
		"ingress-without-host":      "and $v.controlPlane.ingress.enabled (not $v.controlPlane.ingress.host)",
		"route-without-host":        "and $v.controlPlane.tlsRoute.enabled (not $v.controlPlane.tlsRoute.host)",
		"route-without-gateway":     "and $v.controlPlane.tlsRoute.enabled (not $v.controlPlane.tlsRoute.parentRefs)",
		"node-port-of-no-node":      "and $v.controlPlane.service.httpsNodePort (eq $v.controlPlane.service.spec.type \"ClusterIP\")",
		"audit-to-nowhere":          "and " + audit + ".enabled (not " + audit + ".log.enabled) (not " + audit + ".webhook.secret)",
		"audit-without-rules":       "and " + audit + ".enabled (not " + audit + ".policy.rules)",
		"handlers-of-shown-classes": "and $v.policies.pods.runtimeHandlers $v.sync.fromHost.runtimeClasses.enabled",
		"chart-of-repository":       `include "sublet.chartOfRepository" $`,
		"exported-twice":            `include "sublet.exportedTwice" $`,
	}
}
