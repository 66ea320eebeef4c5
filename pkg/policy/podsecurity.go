package policy

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	podsecurity "k8s.io/pod-security-admission/policy"
)

// podSecuritySetting is the key of the Pod Security Standard.
const podSecuritySetting = "policies.podSecurityStandard"

// securityFields names the fields that one of upstream's checks reads.
type securityFields struct {
	pod       []string // below spec
	container string   // below a container
}

// fieldsOf returns the fields of a check by upstream's identifier. A check without a row
// is reported for the whole spec.
func fieldsOf(id podsecurity.CheckID) securityFields {
	const context = "securityContext."
	switch id {
	case "hostNamespaces":
		return securityFields{pod: []string{"hostNetwork", "hostPID", "hostIPC"}}
	case "hostPathVolumes", "restrictedVolumes":
		return securityFields{pod: []string{"volumes"}}
	case "hostPorts":
		return securityFields{container: "ports"}
	case "hostProbesAndHostLifecycle":
		return securityFields{}
	case "sysctls":
		return securityFields{pod: []string{context + "sysctls"}}
	case "privileged", "allowPrivilegeEscalation":
		return securityFields{container: context + string(id)}
	case "capabilities_baseline", "capabilities_restricted":
		return securityFields{container: context + "capabilities"}
	case "procMount", "procMount_restricted":
		return securityFields{container: context + "procMount"}
	case "appArmorProfile", "seLinuxOptions", "runAsNonRoot", "runAsUser":
		return securityFields{pod: []string{context + string(id)}, container: context + string(id)}
	case "seccompProfile_baseline", "seccompProfile_restricted":
		return securityFields{pod: []string{context + "seccompProfile"}, container: context + "seccompProfile"}
	case "windowsHostProcess":
		return securityFields{pod: []string{context + "windowsOptions.hostProcess"}, container: context + "windowsOptions.hostProcess"}
	}
	return securityFields{}
}

// podSecurity returns the rule of a Pod Security Standard, in its latest version. Upstream
// decides. This package finds the field. Unlike upstream, a user namespace allows nothing more.
// A host without user namespaces drops spec.hostUsers, and would run the pod as its own root.
func podSecurity(standard string) podRule {
	level := api.Level(standard)
	if level == api.LevelPrivileged {
		return func(*metav1.ObjectMeta, *corev1.PodSpec) []Violation { return nil }
	}
	checks := securityChecks(level)
	return func(metadata *metav1.ObjectMeta, spec *corev1.PodSpec) []Violation {
		if spec.HostUsers != nil {
			copied := *spec
			copied.HostUsers = nil
			spec = &copied
		}
		var violations []Violation
		for _, check := range checks {
			if result := check.run(metadata, spec); !result.Allowed {
				violations = append(violations, check.locate(standard, metadata, spec, result)...)
			}
		}
		return violations
	}
}

// securityCheck is one of upstream's checks.
type securityCheck struct {
	id  podsecurity.CheckID
	run podsecurity.CheckPodFn
}

// securityChecks returns the latest version of each check of a level.
func securityChecks(level api.Level) []securityCheck {
	overridden := map[podsecurity.CheckID]bool{}
	var checks []securityCheck
	for _, check := range podsecurity.DefaultChecks() {
		latest := check.Versions[len(check.Versions)-1]
		if check.Level == api.LevelRestricted {
			if level != api.LevelRestricted {
				continue
			}
			for _, id := range latest.OverrideCheckIDs {
				overridden[id] = true
			}
		}
		checks = append(checks, securityCheck{check.ID, latest.CheckPod})
	}
	kept := checks[:0]
	for _, check := range checks {
		if !overridden[check.id] {
			kept = append(kept, check)
		}
	}
	return kept
}

// locate returns the violations of a check that failed: one for the pod, and one for each container that fails by
// itself. A pod that runs may have the first, so that it must not hide those of a new debug container.
func (c securityCheck) locate(standard string, metadata *metav1.ObjectMeta, spec *corev1.PodSpec, whole podsecurity.CheckResult) []Violation {
	fields := fieldsOf(c.id)
	rest := *spec
	rest.InitContainers, rest.Containers, rest.EphemeralContainers = nil, nil, nil
	var violations []Violation
	ofPod := c.run(metadata, &rest)
	if !ofPod.Allowed {
		violations = append(violations, c.violation(standard, podField(fields, spec), ofPod))
		if len(fields.pod) > 0 && fields.container == "" {
			return violations // Only the pod has such fields.
		}
	}
	for _, container := range containers(spec) {
		if result, failed := c.runAlone(rest, container.Container, ofPod.Allowed); failed {
			violations = append(violations, c.violation(standard, strings.TrimSuffix(container.path+"."+fields.container, "."), result))
		}
	}
	if len(violations) == 0 {
		violations = append(violations, c.violation(standard, podField(fields, spec), whole))
	}
	return violations
}

// runAlone runs a check for one container in the rest of a pod. If the rest fails by itself, failed reports whether the
// security context of the container adds to that. The annotations of the pod are left out, as they are checked with the
// rest. A pod may have very many annotations and containers.
func (c securityCheck) runAlone(rest corev1.PodSpec, container *corev1.Container, restAllowed bool) (result podsecurity.CheckResult, failed bool) {
	if !restAllowed && container.SecurityContext == nil {
		return podsecurity.CheckResult{}, false
	}
	rest.Containers = []corev1.Container{*container}
	result = c.run(&metav1.ObjectMeta{}, &rest)
	if result.Allowed || restAllowed {
		return result, !result.Allowed
	}
	rest.Containers[0].SecurityContext = nil
	return result, result.ForbiddenDetail != c.run(&metav1.ObjectMeta{}, &rest).ForbiddenDetail
}

// violation returns the violation of a field, with upstream's words.
func (c securityCheck) violation(standard, field string, result podsecurity.CheckResult) Violation {
	detail := result.ForbiddenReason
	if result.ForbiddenDetail != "" {
		detail += " (" + result.ForbiddenDetail + ")"
	}
	return Violation{
		Field:   field,
		Detail:  fmt.Sprintf("the Pod Security Standard %s does not allow this: %s", standard, detail),
		Setting: podSecuritySetting,
	}
}

// podField returns the field of a pod that a check reads. Of the host's namespaces it
// returns those that the pod joins.
func podField(fields securityFields, spec *corev1.PodSpec) string {
	isUnset := map[string]bool{"hostNetwork": !spec.HostNetwork, "hostPID": !spec.HostPID, "hostIPC": !spec.HostIPC}
	var set []string
	for _, field := range fields.pod {
		if !isUnset[field] {
			set = append(set, "spec."+field)
		}
	}
	if len(set) == 0 {
		return "spec"
	}
	return strings.Join(set, ", ")
}
