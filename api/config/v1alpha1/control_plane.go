package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// ControlPlane says how the control plane runs.
type ControlPlane struct {
	// backingStore is where the objects of the virtual cluster are stored.
	BackingStore BackingStore `json:"backingStore"`
	// statefulSet is the workload that runs the control plane in one pod.
	StatefulSet StatefulSet `json:"statefulSet"`
	// service is the Service RELEASE in front of the API server, port 443.
	Service Service `json:"service"`
	// proxy is about the one TLS port of the control plane.
	Proxy Proxy `json:"proxy"`
	// advanced has settings that few need.
	Advanced ControlPlaneAdvanced `json:"advanced"`
}

// BackingStore is where the objects of the virtual cluster are stored.
type BackingStore struct {
	// etcd stores them in an etcd.
	Etcd Etcd `json:"etcd"`
}

// Etcd stores the objects of the virtual cluster in an etcd.
type Etcd struct {
	// embedded is an etcd inside the process of the control plane.
	Embedded EmbeddedEtcd `json:"embedded"`
}

// EmbeddedEtcd is an etcd inside the process of the control plane.
type EmbeddedEtcd struct {
	// enabled uses it. There is no other store yet, so it has to be true.
	// Default: true
	Enabled bool `json:"enabled"`
	// quota is the size in bytes that the database file may reach. 0 computes it from the volume and the
	// memory limit.
	// Default: "0"
	Quota resource.Quantity `json:"quota"`
}

// StatefulSet is the workload that runs the control plane.
type StatefulSet struct {
	// image is the container image.
	Image Image `json:"image"`
	// imagePullSecrets are the Secrets with which the image is pulled, a list of {name: SECRET}.
	// Default: []
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets"`
	// resources are what the control plane asks of its node, and what it may use at most.
	Resources Resources `json:"resources"`
	// persistence is where the store lies.
	Persistence Persistence `json:"persistence"`
	// scheduling says on which nodes the control plane may run. It never runs on nodes simulated by kwok
	// or served by a virtual-kubelet, whatever is set here.
	Scheduling Scheduling `json:"scheduling"`
	// probes are the probes of the control plane container. They use the operator port, without TLS.
	Probes Probes `json:"probes"`
	// labels are added to the StatefulSet.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
	// annotations are added to the StatefulSet.
	// Default: {}
	Annotations map[string]string `json:"annotations" keys:"label-key"`
	// pods is about the pod of the StatefulSet.
	Pods PodMetadata `json:"pods"`
}

// Image names a container image, as REGISTRY/REPOSITORY:TAG.
type Image struct {
	// registry is the host of the registry, with its port if it has one.
	// Default: ghcr.io
	Registry string `json:"registry" format:"image-registry"`
	// repository is the path of the image in the registry.
	// Default: sublet-dev/sublet
	Repository string `json:"repository" format:"image-repository"`
	// tag is the version of the image, also as TAG@sha256:DIGEST. Empty means the version of the chart.
	// Default: ""
	Tag string `json:"tag" format:"image-tag,optional"`
	// pullPolicy says when the kubelet pulls the image.
	// Default: IfNotPresent
	PullPolicy corev1.PullPolicy `json:"pullPolicy" enum:"Always,IfNotPresent,Never"`
}

// Resources are what a container asks of its node, and what it may use at most.
type Resources struct {
	// requests are kept free for the control plane on its node: cpu in cores, memory in bytes.
	// Default: {cpu: 100m, memory: 256Mi}
	Requests corev1.ResourceList `json:"requests" keys:"label-key"`
	// limits are what the control plane may use at most. There is no limit on cpu by default, because
	// throttling shows as latency to the tenant; add one where a quota asks for it.
	// Default: {memory: 2Gi}
	Limits corev1.ResourceList `json:"limits" keys:"label-key"`
}

// Persistence is where the store lies.
type Persistence struct {
	// volumeClaim is the PersistentVolumeClaim data-RELEASE-0. Kubernetes does not let a StatefulSet change
	// its claim, so "helm upgrade" cannot change these keys, retentionPolicy aside.
	VolumeClaim VolumeClaim `json:"volumeClaim"`
}

// VolumeClaim is the PersistentVolumeClaim of the store.
type VolumeClaim struct {
	// enabled keeps the store in a claim. If false, it lies in an emptyDir: the virtual cluster is lost
	// with its pod.
	// Default: true
	Enabled bool `json:"enabled"`
	// size is how much the claim asks for, or at which size the emptyDir ends the pod; in bytes.
	// Default: 5Gi
	Size resource.Quantity `json:"size"`
	// storageClass is the name of a StorageClass of the host. Empty means the host's default class.
	// Default: ""
	StorageClass string `json:"storageClass" format:"object-name,optional"`
	// accessModes are those of the claim. One pod uses it.
	// Default: [ReadWriteOnce]
	AccessModes []corev1.PersistentVolumeAccessMode `json:"accessModes" enum:"ReadWriteOnce,ReadWriteOncePod,ReadWriteMany" unique:"true"`
	// retentionPolicy says what becomes of the claim on "helm uninstall": Delete or Retain. A kept claim
	// serves the next release of the same name; what the tenant ran on the host is gone either way.
	// Default: Delete
	RetentionPolicy string `json:"retentionPolicy" enum:"Delete,Retain"`
}

// Scheduling says on which nodes the control plane may run.
type Scheduling struct {
	// nodeSelector are labels that the node must have.
	// Default: {}
	NodeSelector map[string]string `json:"nodeSelector" keys:"label-key" values:"label-value,optional"`
	// affinity is the affinity of the pod. Every required node term also keeps simulated and virtual
	// nodes out.
	// Default: {}
	Affinity corev1.Affinity `json:"affinity"`
	// tolerations let the pod run on nodes with taints.
	// Default: []
	Tolerations []corev1.Toleration `json:"tolerations"`
	// priorityClassName is the name of a PriorityClass of the host. Empty means the host's default.
	// Default: ""
	PriorityClassName string `json:"priorityClassName" format:"object-name,optional"`
}

// Probes are the probes of the control plane container.
type Probes struct {
	// startupProbe checks /livez until the control plane has started or stands by. Then the others take
	// over.
	StartupProbe Probe `json:"startupProbe"`
	// readinessProbe checks /readyz. The Service also routes to an unready pod while there is one replica.
	ReadinessProbe Probe `json:"readinessProbe"`
	// livenessProbe checks /livez. On failure the kubelet restarts the container.
	LivenessProbe Probe `json:"livenessProbe"`
}

// Probe is the interval and the threshold of one probe.
type Probe struct {
	// periodSeconds is the probe interval, in seconds.
	// Default: startupProbe 1, readinessProbe 5, livenessProbe 10
	PeriodSeconds int32 `json:"periodSeconds" min:"1" max:"3600"`
	// timeoutSeconds is the probe timeout, in seconds.
	// Default: 3
	TimeoutSeconds int32 `json:"timeoutSeconds" min:"1" max:"3600"`
	// failureThreshold is the number of failures in a row after which the probe has failed.
	// Default: startupProbe 300, readinessProbe 3, livenessProbe 3
	FailureThreshold int32 `json:"failureThreshold" min:"1" max:"100000"`
}

// PodMetadata are labels and annotations of the control plane's pod.
type PodMetadata struct {
	// labels are added to the pod.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
	// annotations are added to the pod.
	// Default: {}
	Annotations map[string]string `json:"annotations" keys:"label-key"`
}

// Service is the Service in front of the API server.
type Service struct {
	// spec is what the Service looks like.
	Spec ServiceSpec `json:"spec"`
	// labels are added to the Service.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
	// annotations are added to the Service.
	// Default: {}
	Annotations map[string]string `json:"annotations" keys:"label-key"`
}

// ServiceSpec is what the Service of the API server looks like.
type ServiceSpec struct {
	// type is the type of the Service: ClusterIP inside the host, NodePort or LoadBalancer for tenants
	// outside. Name the address that they use in exportKubeConfig.server.
	// Default: ClusterIP
	Type corev1.ServiceType `json:"type" enum:"ClusterIP,NodePort,LoadBalancer"`
}

// Proxy is about the one TLS port of the control plane.
type Proxy struct {
	// extraSANs are further DNS names and IPs of the serving certificate. The names of the Service, its
	// IP, localhost and the host of exportKubeConfig.server are always in it.
	// Default: []
	ExtraSANs []string `json:"extraSANs" format:"dns-name-or-ip" unique:"true"`
}

// ControlPlaneAdvanced has settings that few need.
type ControlPlaneAdvanced struct {
	// virtualScheduler decides inside the virtual cluster on which node a pod should run.
	VirtualScheduler VirtualScheduler `json:"virtualScheduler"`
	// hostClient limits the requests of the control plane to the API server of the host. They wait if there
	// are more.
	HostClient HostClient `json:"hostClient"`
	// operator is the port 8444 for operators of the host: probes, metrics and /syncz. Its Service is
	// RELEASE-operator, its bearer token is in the Secret RELEASE-operator.
	Operator Operator `json:"operator"`
	// serviceAccount is the ServiceAccount RELEASE with which the control plane talks to the host.
	ServiceAccount ServiceAccount `json:"serviceAccount"`
	// workloadServiceAccount is the ServiceAccount RELEASE-workload of the tenant's pods on the host. It
	// has no rights and no token.
	WorkloadServiceAccount WorkloadServiceAccount `json:"workloadServiceAccount"`
}

// VirtualScheduler is a kube-scheduler inside the virtual cluster.
type VirtualScheduler struct {
	// enabled runs the scheduler, and lets the tenant cordon, taint and label nodes for it. The host's own
	// scheduler has the last word on each pod. If false, the host alone decides where pods run.
	// Default: false
	Enabled bool `json:"enabled"`
	// config is a KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1) as text, with the profiles,
	// plugins and weights to schedule by. Empty means those of a plain kube-scheduler.
	// Default: ""
	Config string `json:"config"`
	// hostUsage takes what the pods of others use of a node off what the tenant's node offers. It needs the
	// cluster-wide right to read pods. If false, a full node looks free to the virtual scheduler, which
	// finds out by asking the host.
	// Default: true
	HostUsage bool `json:"hostUsage"`
}

// HostClient limits the requests of the control plane to the host.
type HostClient struct {
	// requestsPerSecond is the sustained rate of requests. 0 means no limit.
	// Default: 400
	RequestsPerSecond int32 `json:"requestsPerSecond" min:"0" max:"100000"`
	// burst is the number of requests that may be sent at once after a pause.
	// Default: 2000
	Burst int32 `json:"burst" min:"1" max:"1000000"`
	// bytesPerSecond is the sustained rate of request bodies, in bytes per second. 0 means no limit.
	// Default: 16Mi
	BytesPerSecond resource.Quantity `json:"bytesPerSecond"`
}

// Operator is the port for operators of the host.
type Operator struct {
	// profiling serves /debug/pprof on the operator port, behind its bearer token.
	// Default: false
	Profiling bool `json:"profiling"`
}

// ServiceAccount is a ServiceAccount on the host.
type ServiceAccount struct {
	// labels are added to the ServiceAccount.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
	// annotations are added to the ServiceAccount.
	// Default: {}
	Annotations map[string]string `json:"annotations" keys:"label-key"`
}

// WorkloadServiceAccount is the ServiceAccount of the tenant's pods on the host.
type WorkloadServiceAccount struct {
	// labels are added to the ServiceAccount.
	// Default: {}
	Labels map[string]string `json:"labels" keys:"label-key" values:"label-value,optional"`
	// annotations are added to the ServiceAccount.
	// Default: {}
	Annotations map[string]string `json:"annotations" keys:"label-key"`
	// imagePullSecrets are Secrets of the release's namespace with which the host pulls the images of all
	// pods of the tenant, a list of {name: SECRET}.
	// Default: []
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets"`
}
