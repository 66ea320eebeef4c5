package main

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

const autoscaling = "$v.controlPlane.statefulSet.autoscaling"

// severalReplicas returns the condition that the settings allow more than one replica.
func severalReplicas() string {
	const replicas = "$v.controlPlane.statefulSet.highAvailability"
	return "(gt (int (ternary " + autoscaling + ".maxReplicas (ternary " + replicas + ".replicas 1 " + replicas + ".enabled) " +
		autoscaling + ".enabled)) 1)"
}

// autoscalingConditions returns the conditions of the combinations of autoscaling.
func autoscalingConditions() map[string]string {
	const (
		on        = "and " + autoscaling + ".enabled "
		usage     = "(or " + autoscaling + ".targetCPUUtilizationPercentage " + autoscaling + ".targetMemoryUtilizationPercentage)"
		requests  = autoscaling + ".targetRequestsPerSecond"
		store     = "$v.controlPlane.backingStore"
		isShared  = "(or " + store + ".etcd.external.enabled " + store + ".database.external.enabled)"
		resources = "$v.controlPlane.statefulSet.resources"
	)
	all := map[string]string{
		"autoscaling-of-own-store":   on + "(not " + isShared + ")",
		"autoscaling-min-over-max":   on + "(gt (int " + autoscaling + ".minReplicas) (int " + autoscaling + ".maxReplicas))",
		"autoscaling-without-target": on + "(not " + requests + ") (not " + usage + ")",
		"autoscaling-twice":          on + requests + " " + usage,
	}
	for setting, name := range map[string]corev1.ResourceName{
		"targetCPUUtilizationPercentage": corev1.ResourceCPU, "targetMemoryUtilizationPercentage": corev1.ResourceMemory,
	} {
		request := fmt.Sprintf("(get (%s.requests | default dict) %[2]q | default (get (%[1]s.limits | default dict) %[2]q))", resources, name)
		all["autoscaling-without-request-"+string(name)] = on + autoscaling + "." + setting +
			" (or (eq (toString " + request + ") \"\") (le (include \"sublet.quantity\" " + request + " | float64) 0.0))"
	}
	return all
}
