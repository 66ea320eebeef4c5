package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Default returns the configuration without any value set, with those kinds. Values
// are decoded over it: a key without a value keeps its default. Maps are merged key by
// key, as Helm does.
func Default(kinds ...Kind) *Config {
	config := &Config{
		ControlPlane: defaultControlPlane(),
		Sync: Sync{
			ToHost: ToHost{PodDisruptionBudgets: defaultPodDisruptionBudgets(), ServiceAccounts: ServiceAccounts{AccountAnnotations{Allow: []string{}}}, Pods: Pods{
				NodeSelector: map[string]string{}, EnforceTolerations: []string{},
				PriorityClasses: map[string]string{}, TranslateImage: map[string]string{},
				RewriteHosts: RewriteHosts{InitContainer: HostsContainer{Image: "docker.io/library/busybox:1.37"}},
				Labels:       defaultPassedLabels(), Annotations: defaultPassedAnnotations(),
				HybridScheduling: HybridScheduling{HostSchedulers: []string{}},
			}, CustomResources: map[string]CustomResource{}},
			FromHost: FromHost{Nodes: Nodes{
				Selector:         NodeSelector{All: true, Labels: map[string]string{}},
				HideControlPlane: true,
				ClearImageStatus: true,
				Annotations:      []string{}, ShowFields: []ShownField{},
				SyncBackFields:       []NodeField{NodeUnschedulable},
				SyncBackLabels:       []string{},
				SyncBackTaintEffects: []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule},
			},
				ConfigMaps:      Mapped{Mappings{ByName: map[string]string{}}},
				Secrets:         Mapped{Mappings{ByName: map[string]string{}}},
				CustomResources: map[string]HostCustomResource{},
			},
		},
		Policies: defaultPolicies(),
		Networking: Networking{ReplicateServices: ReplicateServices{ToHost: []ServiceToHost{}, FromHost: []ServiceFromHost{}}, ResolveDNS: []DNSRule{}, Advanced: NetworkingAdvanced{
			ClusterDomain: "cluster.local",
			DNS: DNS{
				AllowedCIDRs: []string{}, QueriesPerSecond: 1000,
				Hosts: map[string]string{}, Rewrite: map[string]string{}, Forward: map[string]string{},
			},
		}},
		Integrations: defaultIntegrations(), ExportKubeConfig: ExportKubeConfig{AdditionalSecrets: []AdditionalSecret{}},
		Logging:      Logging{Encoding: "console"},
		Experimental: Experimental{Deploy{DeployVirtual{Helm: []DeployChart{}}}},
	}
	config.Sync.setKinds(kinds)
	return config
}

func defaultControlPlane() ControlPlane {
	return ControlPlane{
		BackingStore:   defaultBackingStore(),
		StatefulSet:    defaultStatefulSet(),
		ServiceMonitor: ServiceMonitor{Labels: map[string]string{}, Annotations: map[string]string{}},
		CoreDNS:        defaultCoreDNS(),
		Service: Service{
			Spec:        ServiceSpec{Type: corev1.ServiceTypeClusterIP},
			Labels:      map[string]string{},
			Annotations: map[string]string{},
		},
		Ingress: defaultIngress(), TLSRoute: defaultTLSRoute(),
		Proxy: Proxy{ExtraSANs: []string{}},
		Advanced: ControlPlaneAdvanced{
			VirtualScheduler: VirtualScheduler{HostUsage: true},
			HostClient:       HostClient{RequestsPerSecond: 400, Burst: 2000, BytesPerSecond: resource.MustParse("16Mi")},
			Split:            Split{Replicas: 1},
			Encryption:       defaultEncryption(),
			Hooks:            defaultHooks(),
			Authentication:   Authentication{JWT: []JWTAuthenticator{}},
			Audit:            defaultAudit(), FeatureGates: map[string]bool{},

			ServiceAccountTokens: defaultServiceAccountTokens(),
			ServiceAccount:       ServiceAccount{Labels: map[string]string{}, Annotations: map[string]string{}},
			WorkloadServiceAccount: WorkloadServiceAccount{
				Labels: map[string]string{}, Annotations: map[string]string{},
				ImagePullSecrets: []corev1.LocalObjectReference{},
			},
		},
	}
}

func defaultStatefulSet() StatefulSet {
	return StatefulSet{
		HighAvailability: defaultHighAvailability(),
		Autoscaling:      defaultAutoscaling(),
		Image: Image{
			Registry:   "ghcr.io",
			Repository: "sublet-dev/sublet",
			PullPolicy: corev1.PullIfNotPresent,
		},
		ImagePullSecrets: []corev1.LocalObjectReference{},
		Resources: Resources{
			Requests: corev1.ResourceList{
				corev1.ResourceCPU:    resource.MustParse("100m"),
				corev1.ResourceMemory: resource.MustParse("256Mi"),
			},
			Limits: corev1.ResourceList{
				corev1.ResourceMemory: resource.MustParse("2Gi"),
			},
		},
		Persistence: Persistence{VolumeClaim: VolumeClaim{
			Enabled:         true,
			Size:            resource.MustParse("5Gi"),
			AccessModes:     []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			RetentionPolicy: "Delete",
		}, AddVolumes: []AddVolume{}, AddVolumeMounts: []corev1.VolumeMount{}},
		Security: defaultSecurity(), Env: []corev1.EnvVar{}, SidecarContainers: []corev1.Container{},
		InitContainers: []corev1.Container{}, HostAliases: []corev1.HostAlias{}, DNSPolicy: corev1.DNSClusterFirst,
		Scheduling: Scheduling{
			NodeSelector: map[string]string{},
			Tolerations:  []corev1.Toleration{},

			TopologySpreadConstraints: []corev1.TopologySpreadConstraint{},
		},
		Probes: Probes{
			StartupProbe:   Probe{PeriodSeconds: 1, TimeoutSeconds: 3, FailureThreshold: 3600},
			ReadinessProbe: Probe{PeriodSeconds: 5, TimeoutSeconds: 3, FailureThreshold: 3},
			LivenessProbe:  Probe{PeriodSeconds: 10, TimeoutSeconds: 3, FailureThreshold: 3},
		},
		Labels:      map[string]string{},
		Annotations: map[string]string{},
		Pods:        PodMetadata{Labels: map[string]string{}, Annotations: map[string]string{}},
	}
}
