package policy

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// Pods checks the pods of a tenant. The zero value denies nothing.
type Pods struct {
	rules []podRule
	limit int64 // of a grace period in seconds, 0 for none
	// tolerated are the taints that pods may tolerate on the host.
	tolerated []string
}

// podRule returns the fields of a pod that one policy does not allow.
type podRule func(metadata *metav1.ObjectMeta, spec *corev1.PodSpec) []Violation

// PodOptions are the settings outside of the policies that decide about pods.
type PodOptions struct {
	// VirtualScheduler specifies whether a scheduler of the virtual cluster picks nodes. A
	// tenant may then taint nodes, and pods may tolerate every taint. The syncer passes on only
	// the tolerations that [Pods.PassTolerations] returns. Default: false.
	VirtualScheduler bool
	// ResourceClaims specifies whether the host has the tenant's ResourceClaims. Default: false.
	ResourceClaims bool
}

// PodOptionsOf returns the options by the settings.
func PodOptionsOf(settings *v1alpha1.Config) PodOptions {
	return PodOptions{
		VirtualScheduler: settings.ControlPlane.Advanced.VirtualScheduler.Enabled,
		ResourceClaims:   settings.Sync.IsEnabled(ResourceClaimsSetting),
	}
}

// NewPods returns the rules that the settings ask for.
func NewPods(settings v1alpha1.Policies, o PodOptions) *Pods {
	pods := settings.Pods
	tolerated := withDefaultTaints(pods.Tolerations)
	allowed := tolerated
	if o.VirtualScheduler {
		allowed = []string{"*"}
	}
	return &Pods{
		tolerated: tolerated,
		rules: []podRule{
			podSecurity(settings.PodSecurityStandard),
			volumeTypes(pods.VolumeTypes, pods.CSIDrivers),
			hostPorts(pods.HostPorts),
			tolerations(allowed),
			runtimeClasses(pods.RuntimeClasses),
			gracePeriods(pods.MaxGracePeriodSeconds),
			images(settings.Images.Allowed),
			unsupported(o.ResourceClaims),
			deviceClassResources,
			mirrorPods,
			podQuantities,
			podSizes,
		},
		limit: pods.MaxGracePeriodSeconds,
	}
}

// Evaluate returns the fields of a pod that are not allowed.
func (p *Pods) Evaluate(metadata *metav1.ObjectMeta, spec *corev1.PodSpec) []Violation {
	var violations []Violation
	for _, rule := range p.rules {
		violations = append(violations, rule(metadata, spec)...)
	}
	return violations
}

// EvaluateUpdate returns the fields that an update makes worse. What a pod had before stays:
// it may be older than the policy, and its labels and status must be writable.
func (p *Pods) EvaluateUpdate(before, after *corev1.Pod) []Violation {
	violations := p.Evaluate(&after.ObjectMeta, &after.Spec)
	if len(violations) == 0 {
		return nil
	}
	known := p.Evaluate(&before.ObjectMeta, &before.Spec)
	return slices.DeleteFunc(violations, func(v Violation) bool { return slices.Contains(known, v) })
}

// EvaluateCopy returns what keeps a pod from the host: any violation before it has a host copy,
// and those of its further ephemeral containers later. Admission denies both. A pod may be
// older than the policy.
func (p *Pods) EvaluateCopy(virtual, host *corev1.Pod) []Violation {
	if host.UID == "" {
		return p.Evaluate(&virtual.ObjectMeta, &virtual.Spec)
	}
	var added []string
	for i := range virtual.Spec.EphemeralContainers {
		name := virtual.Spec.EphemeralContainers[i].Name
		if !slices.ContainsFunc(host.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == name }) {
			added = append(added, at("spec.ephemeralContainers", i))
		}
	}
	if len(added) == 0 {
		return nil
	}
	return slices.DeleteFunc(p.Evaluate(&virtual.ObjectMeta, &virtual.Spec), func(v Violation) bool {
		return !slices.ContainsFunc(added, func(path string) bool { return strings.HasPrefix(v.Field, path) })
	})
}

// EvaluateDelete returns what is not allowed about the grace period of a delete, in seconds.
func (p *Pods) EvaluateDelete(seconds *int64) []Violation {
	if seconds == nil || p.limit == 0 {
		return nil
	}
	return gracePeriod("gracePeriodSeconds", *seconds, p.limit)
}

// PassTolerations returns the tolerations that may reach the host.
func (p *Pods) PassTolerations(of []corev1.Toleration) []corev1.Toleration {
	isRefused := func(toleration corev1.Toleration) bool { return !mayTolerate(p.tolerated, toleration.Key) }
	if !slices.ContainsFunc(of, isRefused) {
		return of
	}
	return slices.DeleteFunc(slices.Clone(of), isRefused)
}

// container is one container of a pod, of any list.
type container struct {
	*corev1.Container
	// path is the place of the container, as in spec.containers[0].
	path string
}

// containers returns all containers of a pod.
func containers(spec *corev1.PodSpec) []container {
	all := make([]container, 0, len(spec.InitContainers)+len(spec.Containers)+len(spec.EphemeralContainers))
	for i := range spec.InitContainers {
		all = append(all, container{&spec.InitContainers[i], at("spec.initContainers", i)})
	}
	for i := range spec.Containers {
		all = append(all, container{&spec.Containers[i], at("spec.containers", i)})
	}
	for i := range spec.EphemeralContainers {
		// The two types have the same fields, and Kubernetes converts them so too.
		common := (*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon)
		all = append(all, container{common, at("spec.ephemeralContainers", i)})
	}
	return all
}
