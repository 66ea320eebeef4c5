package v1alpha1

// PodPolicy has the limits of the tenant's pods beyond the Pod Security Standard.
type PodPolicy struct {
	// Types of volumes that pods may have, as their fields in a pod are called. A type that a later
	// Kubernetes adds is refused until it is named here. For csi, see csiDrivers.
	// Default: [configMap, secret, projected, downwardAPI, emptyDir, persistentVolumeClaim, ephemeral]
	VolumeTypes []string `json:"volumeTypes" enum:"awsElasticBlockStore,azureDisk,azureFile,cephfs,cinder,configMap,downwardAPI,emptyDir,ephemeral,fc,flexVolume,gcePersistentDisk,hostPath,image,iscsi,nfs,persistentVolumeClaim,projected,rbd,secret,vsphereVolume" unique:"true"`
	// CSI drivers of inline volumes. Their attributes may name objects of the host.
	// Default: []
	CSIDrivers []string `json:"csiDrivers" format:"object-name" unique:"true"`
	// Ports of nodes that containers may take: a port or a range, such as "8080" or "30000-30100". The
	// Pod Security Standards baseline and restricted forbid all of them.
	// Default: []
	HostPorts []string `json:"hostPorts" format:"port-range" unique:"true"`
	// Taints that pods may tolerate on the host: keys, or prefixes that end with *. A toleration without a
	// key needs *. Pods of DaemonSets need node.kubernetes.io/*. That does not include
	// node.kubernetes.io/out-of-service, which must be named in full. With the virtual scheduler, others count
	// in the virtual cluster alone. The taints of nodes that are not ready or unreachable are always allowed.
	// Default: [node.kubernetes.io/*]
	Tolerations []string `json:"tolerations" format:"key-pattern" unique:"true"`
	// Runtime classes of the host that pods may name, in addition to those that sync.fromHost.runtimeClasses
	// shows. A pod without one has the default of the host.
	// Default: []
	RuntimeClasses []string `json:"runtimeClasses" format:"object-name" unique:"true"`
	// Handlers that runtime classes of the tenant's own may have, such as {runsc: gvisor}. The value is the
	// runtime class of the host that pods get, with its overhead and nodes. Not with
	// sync.fromHost.runtimeClasses, which shows those of the host alone.
	// Default: {}
	RuntimeHandlers map[string]string `json:"runtimeHandlers" keys:"label-key" values:"object-name"`
	// Longest grace period of a pod, of a probe and of a delete, in seconds. It delays a drain of the
	// host's node.
	// Default: 3600
	MaxGracePeriodSeconds int64 `json:"maxGracePeriodSeconds" min:"1" max:"2147483647"`
}

// ImagePolicy has the limits of the images of the tenant's pods.
type ImagePolicy struct {
	// Images that containers and image volumes may use: names, or prefixes that end with *, such as
	// registry.example.com/shop/*. They are compared with the full name: nginx is
	// docker.io/library/nginx. Empty means all.
	// Default: []
	Allowed []string `json:"allowed" format:"image-pattern" unique:"true"`
	// Pull every image with the pod's own credentials, also if the node has it. Otherwise a pod can run
	// a private image that another tenant has pulled to the node.
	// Default: false
	AlwaysPull bool `json:"alwaysPull"`
}

func defaultPodPolicy() PodPolicy {
	return PodPolicy{
		VolumeTypes: []string{
			"configMap", "secret", "projected", "downwardAPI", "emptyDir", "persistentVolumeClaim", "ephemeral",
		},
		CSIDrivers:            []string{},
		HostPorts:             []string{},
		Tolerations:           []string{"node.kubernetes.io/*"},
		RuntimeClasses:        []string{},
		RuntimeHandlers:       map[string]string{},
		MaxGracePeriodSeconds: 3600,
	}
}

// podPolicyCombinations returns the rules about several keys of the policies of pods.
func podPolicyCombinations() []Combination {
	const handlers, shown = "policies.pods.runtimeHandlers", "sync.fromHost.runtimeClasses"
	return []Combination{{
		Name: "handlers-of-shown-classes", Path: handlers, With: []string{shown + ".enabled"},
		Detail: "the tenant has no runtime classes of its own where " + shown + " is enabled; remove one of both",
		Violated: func(c *Config) bool {
			return len(c.Policies.Pods.RuntimeHandlers) > 0 && c.Sync.IsEnabled(shown)
		},
	}}
}
