package policy

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/translate"
)

const (
	virtualSchedulerSetting = "controlPlane.advanced.virtualScheduler.enabled"
	hostSchedulersSetting   = "sync.toHost.pods.hybridScheduling.hostSchedulers"
)

// DroppedFields returns the fields of a pod that have no effect, or less than in another
// cluster. The host schedules the pods of this virtual cluster. It is no reason to deny the
// pod: it runs.
func DroppedFields(settings *v1alpha1.Config, spec *corev1.PodSpec) []Violation {
	if settings.ControlPlane.Advanced.VirtualScheduler.Enabled {
		return nil
	}
	var violations []Violation
	known := append([]string{"", corev1.DefaultSchedulerName}, settings.Sync.ToHost.Pods.HybridScheduling.HostSchedulers...)
	if !slices.Contains(known, spec.SchedulerName) {
		violations = append(violations, Violation{
			Field: "spec.schedulerName", Value: spec.SchedulerName,
			Detail: "has no effect, because the host schedules the pods", Setting: hostSchedulersSetting,
		})
	}
	countsOnHost := len(settings.Sync.ToHost.Pods.PriorityClasses) > 0 || settings.Sync.IsEnabled("sync.fromHost.priorityClasses")
	if spec.PriorityClassName != "" && !countsOnHost {
		violations = append(violations, Violation{
			Field: "spec.priorityClassName", Value: spec.PriorityClassName,
			Detail: "has no effect, because the host schedules the pods, without their priorities", Setting: virtualSchedulerSetting,
		})
	}
	if translate.NeedsNamespaces(&corev1.Pod{Spec: *spec}, &corev1.Pod{}) {
		violations = append(violations, Violation{
			Field:  "spec.affinity",
			Detail: "a namespaceSelector counts the namespaces that match when a pod is created, and not those that match later", Setting: virtualSchedulerSetting,
		})
	}
	return violations
}
