package v1alpha1

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Security has the security contexts of the control plane and of the DNS pods.
type Security struct {
	// Security context of the pods. It fits the Pod Security Standard restricted. A field that is null is
	// left out: OpenShift gives pods a user of its own if runAsUser, runAsGroup and fsGroup are null.
	// Default: {fsGroup: 65532, fsGroupChangePolicy: OnRootMismatch, runAsGroup: 65532, runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
	PodSecurityContext corev1.PodSecurityContext `json:"podSecurityContext"`
	// Security context of the containers.
	// Default: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, readOnlyRootFilesystem: true}
	ContainerSecurityContext corev1.SecurityContext `json:"containerSecurityContext"`
}

// AddVolume is a further volume of the control plane. It has the fields of a volume that most need.
type AddVolume struct {
	Name                  string                                    `json:"name"`
	Secret                *corev1.SecretVolumeSource                `json:"secret,omitempty"`
	ConfigMap             *corev1.ConfigMapVolumeSource             `json:"configMap,omitempty"`
	EmptyDir              *corev1.EmptyDirVolumeSource              `json:"emptyDir,omitempty"`
	PersistentVolumeClaim *corev1.PersistentVolumeClaimVolumeSource `json:"persistentVolumeClaim,omitempty"`
}

// ServiceMonitor has the settings of the object by which a Prometheus Operator of the host finds the
// metrics.
type ServiceMonitor struct {
	// Create the ServiceMonitor RELEASE. It has the operator port as target, with its certificate authority
	// and its bearer token. The host needs the CRDs of the Prometheus Operator.
	// Default: false
	Enabled bool `json:"enabled"`
	// Further labels of the ServiceMonitor. Many a Prometheus selects by one.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
	// Further annotations of the ServiceMonitor.
	// Default: {}
	Annotations map[string]string `json:"annotations" keys:"label-key"`
}

// defaultSecurity returns security contexts that fit the Pod Security Standard restricted.
func defaultSecurity() Security {
	yes, no, id := true, false, int64(65532)
	policy := corev1.FSGroupChangeOnRootMismatch
	return Security{
		PodSecurityContext: corev1.PodSecurityContext{
			RunAsNonRoot: &yes, RunAsUser: &id, RunAsGroup: &id, FSGroup: &id, FSGroupChangePolicy: &policy,
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		ContainerSecurityContext: corev1.SecurityContext{
			AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
}

// ChartVariables returns the environment variables that the chart gives the control plane.
func ChartVariables() []string { return []string{"MEMORY_LIMIT", "POD_IP", "POD_NAME", "POD_UID"} }

// ChartVolumes returns the volumes that the chart gives the pod of the control plane, under some settings or all.
func ChartVolumes() []string {
	return []string{"audit", "backup", "config", "data", "store", "store-from", "tmp"}
}

// ChartContainer is the container of the control plane.
const ChartContainer = "sublet"

// podCombinations returns the rules of what the settings add to the pod of the control plane.
func podCombinations() []Combination {
	const set = "controlPlane.statefulSet."
	return []Combination{
		{
			Name: "variable-of-chart", Path: set + "env",
			Detail: "the chart sets " + strings.Join(ChartVariables(), ", ") + " itself; leave them out",
			Violated: func(c *Config) bool {
				return slices.ContainsFunc(c.ControlPlane.StatefulSet.Env, func(v corev1.EnvVar) bool {
					return slices.Contains(ChartVariables(), v.Name)
				})
			},
		},
		{
			Name: "volume-of-chart", Path: set + "persistence.addVolumes",
			Detail: "the chart has volumes with the names " + strings.Join(ChartVolumes(), ", ") + "; choose others",
			Violated: func(c *Config) bool {
				return slices.ContainsFunc(c.ControlPlane.StatefulSet.Persistence.AddVolumes, func(v AddVolume) bool {
					return slices.Contains(ChartVolumes(), v.Name)
				})
			},
		},
		{
			Name: "container-of-chart", Path: set + "sidecarContainers", Detail: containerRule,
			Violated: func(c *Config) bool { return badContainers(c.ControlPlane.StatefulSet.SidecarContainers) },
		},
		{
			Name: "init-container-of-chart", Path: set + "initContainers", With: []string{set + "sidecarContainers"}, Detail: containerRule,
			Violated: func(c *Config) bool {
				sidecars := c.ControlPlane.StatefulSet.SidecarContainers
				return !badContainers(sidecars) && badContainers(slices.Concat(sidecars, c.ControlPlane.StatefulSet.InitContainers))
			},
		},
		{
			Name: "dns-without-nameservers", Path: set + "dnsPolicy", With: []string{set + "dnsConfig"},
			Detail: "None needs a nameserver; name one in " + set + "dnsConfig.nameservers, or choose another policy",
			Violated: func(c *Config) bool {
				pod := c.ControlPlane.StatefulSet
				return pod.DNSPolicy == corev1.DNSNone && len(pod.DNSConfig.Nameservers) == 0
			},
		},
	}
}

// containerRule is the rule of containers that the settings add.
const containerRule = "each container needs an image and a name of its own, and " + ChartContainer + " is the control plane's; name each differently"

// badContainers reports whether a container has no image, or no name of its own.
func badContainers(containers []corev1.Container) bool {
	seen := map[string]bool{ChartContainer: true, "": true}
	return slices.ContainsFunc(containers, func(v corev1.Container) bool {
		known := seen[v.Name]
		seen[v.Name] = true
		return known || v.Image == ""
	})
}

// secretPaths returns the settings whose values may be passwords: variables of containers, settings of charts, addresses
// of databases.
func secretPaths() []string {
	return []string{
		"controlPlane.statefulSet.env", "controlPlane.statefulSet.sidecarContainers", "controlPlane.statefulSet.initContainers",
		"experimental.deploy.vcluster", "controlPlane.backingStore.database.external.dataSource",
		"controlPlane.backingStore.moveFrom.database.external.dataSource",
	}
}

// HidesValue reports whether messages about a path must not repeat what is set there. They name the items of a
// list at most.
func HidesValue(path string) bool {
	return slices.ContainsFunc(secretPaths(), func(secret string) bool {
		rest, found := strings.CutPrefix(path, secret)
		return found && (rest == "" || strings.ContainsAny(rest[:1], ".["))
	})
}
