package main

import (
	"strconv"
	"strings"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

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
		"system-priority":           `hasPrefix "system-" ($v.sync.toHost.pods.priorityClassName | default "")`,
		"system-priorities":         `regexMatch "(^|,)system-" (join "," (values ($v.sync.toHost.pods.priorityClasses | default dict)))`,
		"variable-of-chart":         `include "sublet.namesOneOf" (dict "items" $v.controlPlane.statefulSet.env "names" ` + list(v1alpha1.ChartVariables()) + `)`,
		"volume-of-chart":           `include "sublet.namesOneOf" (dict "items" $v.controlPlane.statefulSet.persistence.addVolumes "names" ` + list(v1alpha1.ChartVolumes()) + `)`,
		"container-of-chart":        `include "sublet.badContainers" $v.controlPlane.statefulSet.sidecarContainers`,
		"init-container-of-chart": `and (not (include "sublet.badContainers" $v.controlPlane.statefulSet.sidecarContainers)) ` +
			`(include "sublet.badContainers" (concat ($v.controlPlane.statefulSet.sidecarContainers | default list) ($v.controlPlane.statefulSet.initContainers | default list)))`,
		"dns-without-nameservers": `and (eq $v.controlPlane.statefulSet.dnsPolicy "None") (not ($v.controlPlane.statefulSet.dnsConfig).nameservers)`,
		"chart-of-repository":     `include "sublet.chartOfRepository" $`,
		"exported-twice":          `include "sublet.exportedTwice" $`,
	}
}

// list returns the template expression of a list of texts.
func list(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = strconv.Quote(text)
	}
	return "(list " + strings.Join(quoted, " ") + ")"
}
