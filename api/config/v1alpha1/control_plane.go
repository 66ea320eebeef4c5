package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// ControlPlane has the settings of the control plane.
type ControlPlane struct {
	// Store of the virtual cluster.
	BackingStore BackingStore `json:"backingStore"`
	// Workload that runs the control plane.
	StatefulSet StatefulSet `json:"statefulSet"`
	// Object by which a Prometheus Operator of the host finds the metrics.
	ServiceMonitor ServiceMonitor `json:"serviceMonitor"`
	// Pods that run DNS instead of the control plane.
	CoreDNS CoreDNS `json:"coredns"`
	// Service RELEASE in front of the API server, port 443.
	Service Service `json:"service"`
	// Ingress in front of the virtual API.
	Ingress Ingress `json:"ingress"`
	// Route of a Gateway to the virtual API.
	TLSRoute TLSRoute `json:"tlsRoute"`
	// Serving certificate of the virtual API.
	Proxy Proxy `json:"proxy"`
	// Settings that few need.
	Advanced ControlPlaneAdvanced `json:"advanced"`
}

// StatefulSet has the settings of the workload that runs the control plane.
type StatefulSet struct {
	// Several replicas of the control plane.
	HighAvailability HighAvailability `json:"highAvailability"`
	// Number of replicas by load.
	Autoscaling Autoscaling `json:"autoscaling"`
	// Container image.
	Image Image `json:"image"`
	// Secrets to pull the image with, a list of {name: SECRET}.
	// Default: []
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets"`
	// Compute resources of the control plane container.
	Resources Resources `json:"resources"`
	// Volume of the store.
	Persistence Persistence `json:"persistence"`
	// Nodes that the control plane may run on. It never runs on nodes that kwok simulates or a
	// virtual-kubelet serves.
	Scheduling Scheduling `json:"scheduling"`
	// Probes of the control plane container. They use the operator port, without TLS.
	Probes Probes `json:"probes"`
	// Further labels of the StatefulSet.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
	// Further annotations of the StatefulSet.
	// Default: {}
	Annotations map[string]string `json:"annotations" keys:"label-key"`
	// Metadata of the pod, of DNS pods, and of the pods of hooks.
	Pods PodMetadata `json:"pods"`
	// Security contexts of the control plane and of the DNS pods.
	Security Security `json:"security"`
	// Further environment variables of the control plane container, as in a pod. Their names must not be those of
	// the chart: POD_NAME, POD_UID, POD_IP and MEMORY_LIMIT.
	// Default: []
	Env []corev1.EnvVar `json:"env"`
	// Further containers of the pod, as in a pod. One without securityContext has security.containerSecurityContext.
	// Default: []
	SidecarContainers []corev1.Container `json:"sidecarContainers"`
	// Containers of the pod that run before all others, as in a pod. One without securityContext has
	// security.containerSecurityContext.
	// Default: []
	InitContainers []corev1.Container `json:"initContainers"`
	// Further lines of /etc/hosts of the pod, a list of {ip: ADDRESS, hostnames: [NAME]}.
	// Default: []
	HostAliases []corev1.HostAlias `json:"hostAliases"`
	// DNS policy of the pod. None needs nameservers in dnsConfig.
	// Default: ClusterFirst
	DNSPolicy corev1.DNSPolicy `json:"dnsPolicy" enum:"ClusterFirst,Default,None"`
	// DNS settings of the pod, as in a pod.
	// Default: {}
	DNSConfig corev1.PodDNSConfig `json:"dnsConfig"`
	// Runtime class of the host for the pod. Empty means the default of the host.
	// Default: ""
	RuntimeClassName string `json:"runtimeClassName" format:"object-name,optional"`
}

// Image names a container image, as REGISTRY/REPOSITORY:TAG.
type Image struct {
	// Host of the registry, with its port if it has one.
	// Default: ghcr.io
	Registry string `json:"registry" format:"image-registry"`
	// Path of the image in the registry.
	// Default: sublet-dev/sublet
	Repository string `json:"repository" format:"image-repository"`
	// Version of the image, also as TAG@sha256:DIGEST. Empty means the version of the chart.
	// Default: ""
	Tag string `json:"tag" format:"image-tag,optional"`
	// When the kubelet pulls the image.
	// Default: IfNotPresent
	PullPolicy corev1.PullPolicy `json:"pullPolicy" enum:"Always,IfNotPresent,Never"`
}

// Resources has the compute resources of a container.
type Resources struct {
	// Resource requests.
	// Default: {cpu: 100m, memory: 256Mi}
	Requests corev1.ResourceList `json:"requests" keys:"label-key"`
	// Resource limits. No CPU limit by default: throttling adds API latency.
	// Default: {memory: 2Gi}
	Limits corev1.ResourceList `json:"limits" keys:"label-key"`
}

// Persistence has the settings of the volume of the store.
type Persistence struct {
	// PersistentVolumeClaim data-RELEASE-0. Kubernetes does not let a StatefulSet change its claim:
	// "helm upgrade" refuses all changes, except for those of retentionPolicy.
	VolumeClaim VolumeClaim `json:"volumeClaim"`
	// Further volumes of the pod: secret, configMap, emptyDir or persistentVolumeClaim. Their names must not
	// be data, config, tmp, store, store-from, backup or audit.
	// Default: []
	AddVolumes []AddVolume `json:"addVolumes"`
	// Further mounts of the control plane container.
	// Default: []
	AddVolumeMounts []corev1.VolumeMount `json:"addVolumeMounts"`
}

// VolumeClaim has the settings of the PersistentVolumeClaim of the store.
type VolumeClaim struct {
	// Keep the store in a claim. If false, it is in an emptyDir, and the virtual cluster is lost with
	// its pod.
	// Default: true
	Enabled bool `json:"enabled"`
	// Storage request of the claim, or sizeLimit of the emptyDir.
	// Default: 5Gi
	Size resource.Quantity `json:"size"`
	// StorageClass of the host. Empty means the default class of the host.
	// Default: ""
	StorageClass string `json:"storageClass" format:"object-name,optional"`
	// Access modes of the claim. One pod uses it.
	// Default: [ReadWriteOnce]
	AccessModes []corev1.PersistentVolumeAccessMode `json:"accessModes" enum:"ReadWriteOnce,ReadWriteOncePod,ReadWriteMany" unique:"true"`
	// Whether "helm uninstall" deletes the claim. Retain keeps it for a later release of the same
	// name, which serves it only after an operator has accepted it. What the tenant ran on the host is
	// deleted either way.
	// Default: Delete
	RetentionPolicy string `json:"retentionPolicy" enum:"Delete,Retain"`
}

// Scheduling selects the nodes that the control plane may run on.
type Scheduling struct {
	// Labels that the node must have.
	// Default: {}
	NodeSelector map[string]string `json:"nodeSelector" keys:"label-key" values:"label-value,optional"`
	// Affinity of the pod. Every required node term also excludes simulated and virtual nodes.
	// Default: {}
	Affinity corev1.Affinity `json:"affinity"`
	// Tolerations of the pod.
	// Default: []
	Tolerations []corev1.Toleration `json:"tolerations"`
	// PriorityClass of the host. Empty means the default of the host.
	// Default: ""
	PriorityClassName string `json:"priorityClassName" format:"object-name,optional"`
	// How the pods spread, as in a pod. One without labelSelector counts the pods of the control plane. Empty
	// means over the zones, if possible.
	// Default: []
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints"`
}

// Probes has the probes of the control plane container.
type Probes struct {
	// Checks /livez until the API server serves, or until this replica knows that it must not. Then
	// the others take over. Once the store is open, a start in which nothing moves ends by itself after
	// five minutes.
	StartupProbe Probe `json:"startupProbe"`
	// Checks /readyz. With one replica, the Services also route to an unready pod.
	ReadinessProbe Probe `json:"readinessProbe"`
	// Checks /livez. On failure the kubelet restarts the container.
	LivenessProbe Probe `json:"livenessProbe"`
}

// Probe has the interval and the threshold of one probe.
type Probe struct {
	// Probe interval, in seconds.
	// Default: startupProbe 1, readinessProbe 5, livenessProbe 10
	PeriodSeconds int32 `json:"periodSeconds" min:"1" max:"3600"`
	// Probe timeout, in seconds.
	// Default: 3
	TimeoutSeconds int32 `json:"timeoutSeconds" min:"1" max:"3600"`
	// Failures in a row after which the probe fails.
	// Default: startupProbe 3600, readinessProbe 3, livenessProbe 3
	FailureThreshold int32 `json:"failureThreshold" min:"1" max:"100000"`
}

// PodMetadata has the labels and annotations of the pod of the control plane.
type PodMetadata struct {
	// Further labels of the pod.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
	// Further annotations of the pod.
	// Default: {}
	Annotations map[string]string `json:"annotations" keys:"label-key"`
}

// Service has the settings of the Service in front of the API server.
type Service struct {
	// Port of the nodes with type NodePort or LoadBalancer. 0 lets the host choose one.
	// Default: 0
	HTTPSNodePort int32 `json:"httpsNodePort" min:"0" max:"65535"`
	// Spec of the Service.
	Spec ServiceSpec `json:"spec"`
	// Further labels of the Service.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
	// Further annotations of the Service.
	// Default: {}
	Annotations map[string]string `json:"annotations" keys:"label-key"`
}

// ServiceSpec has the spec of the Service in front of the API server.
type ServiceSpec struct {
	// ClusterIP for tenants in the host cluster, NodePort or LoadBalancer for tenants outside. Exported kubeconfigs
	// follow the address, unless exportKubeConfig.server is set.
	// Default: ClusterIP
	Type corev1.ServiceType `json:"type" enum:"ClusterIP,NodePort,LoadBalancer"`
}

// Proxy has the settings of the TLS port of the virtual API.
type Proxy struct {
	// Further DNS names and IPs of the serving certificate. It always has the names and the IP of the
	// Service, its address outside, localhost, and the hosts of exportKubeConfig.server, controlPlane.ingress
	// and controlPlane.tlsRoute.
	// Default: []
	ExtraSANs []string `json:"extraSANs" format:"dns-name-or-ip" unique:"true"`
}

// ControlPlaneAdvanced has settings that few need.
type ControlPlaneAdvanced struct {
	// Scheduler in the virtual cluster.
	VirtualScheduler VirtualScheduler `json:"virtualScheduler"`
	// Limits of the requests that the tenant causes at the API server of the host. More requests wait. Each
	// replica has limits of its own.
	HostClient HostClient `json:"hostClient"`
	// Port 8444 for operators of the host: probes, metrics and /syncz. Its Service is
	// RELEASE-operator, its bearer token is in the Secret RELEASE-operator.
	Operator Operator `json:"operator"`
	// Issuer of the tokens of the tenant's service accounts, an https URL. A cloud that gives pods an
	// identity reads its discovery document there. Serve there what
	// the virtual API server serves under /.well-known/openid-configuration and /openid/v1/jwks. Empty
	// means https://kubernetes.default.svc.DOMAIN. Tokens of that issuer stay valid.
	// Default: ""
	ServiceAccountIssuer string `json:"serviceAccountIssuer" format:"https-url,optional"`
	// Tokens of the tenant's service accounts.
	ServiceAccountTokens ServiceAccountTokens `json:"serviceAccountTokens"`
	// Who may log in to the virtual API server.
	Authentication Authentication `json:"authentication"`
	// Audit log of the virtual API server.
	Audit Audit `json:"audit"`
	// Feature gates of the virtual API server and its controllers, as a map of gate to true or false. The gates are
	// DeploymentReplicaSetTerminatingReplicas, HPAScaleToZero, MaxUnavailableStatefulSet,
	// MutablePodResourcesForSuspendedJobs, StatefulSetRecreateStrategy and StrictIPCIDRValidation. Those of nodes are
	// the host's.
	// Default: {}
	FeatureGates map[string]bool `json:"featureGates" keys:"feature-gate"`
	// API and controllers in workloads of their own.
	Split Split `json:"split"`
	// Encryption of what the store keeps.
	Encryption Encryption `json:"encryption"`
	// Pods that Helm starts for a moment: a check of settings before an install or an upgrade, and "helm test".
	Hooks Hooks `json:"hooks"`
	// ServiceAccount RELEASE of the control plane on the host.
	ServiceAccount ServiceAccount `json:"serviceAccount"`
	// ServiceAccount RELEASE-workload of the tenant's pods on the host. It has no permissions and no
	// token.
	WorkloadServiceAccount WorkloadServiceAccount `json:"workloadServiceAccount"`
}

// VirtualScheduler has the settings of a kube-scheduler in the virtual cluster.
type VirtualScheduler struct {
	// Run the scheduler, and let the tenant cordon, taint and label nodes for it. The scheduler of the
	// host has the last word on each pod. If false, it alone decides where pods run.
	// Default: false
	Enabled bool `json:"enabled"`
	// KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1) as text, with profiles, plugins and
	// weights. Empty means the defaults of kube-scheduler.
	// Default: ""
	Config string `json:"config"`
	// Subtract foreign pods from the allocatable of virtual nodes (needs list, watch on pods in all
	// namespaces). If false, a full node looks free to the virtual scheduler until the host refuses a
	// pod.
	// Of a pod it reads the name, the node, the phase, resources and conditions. The permission
	// itself allows more, because the host has none that allows less.
	// Default: true
	HostUsage bool `json:"hostUsage"`
}

// HostClient limits the requests of one replica of the control plane to the host.
type HostClient struct {
	// Sustained rate of requests, per second. 0 means no limit.
	// Default: 400
	RequestsPerSecond int32 `json:"requestsPerSecond" min:"0" max:"100000"`
	// Requests that may be sent at once after a pause.
	// Default: 2000
	Burst int32 `json:"burst" min:"1" max:"1000000"`
	// Sustained rate of request bodies, in bytes per second. 0 means no limit.
	// Default: 16Mi
	BytesPerSecond resource.Quantity `json:"bytesPerSecond"`
}

// Operator has the settings of the port for operators of the host.
type Operator struct {
	// Serve /debug/pprof on the operator port, behind its bearer token.
	// Default: false
	Profiling bool `json:"profiling"`
}

// ServiceAccount has the metadata of a ServiceAccount on the host.
type ServiceAccount struct {
	// Further labels of the ServiceAccount.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
	// Further annotations of the ServiceAccount.
	// Default: {}
	Annotations map[string]string `json:"annotations" keys:"label-key"`
}

// WorkloadServiceAccount has the settings of the ServiceAccount of the tenant's
// pods.
type WorkloadServiceAccount struct {
	// Further labels of the ServiceAccount.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
	// Further annotations of the ServiceAccount.
	// Default: {}
	Annotations map[string]string `json:"annotations" keys:"label-key"`
	// Secrets of the release's namespace with which the host pulls the images of all pods of the
	// tenant, a list of {name: SECRET}.
	// Default: []
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets"`
}
