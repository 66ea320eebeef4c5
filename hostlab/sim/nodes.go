package sim

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// zones is over how many zones the nodes are spread.
const zones = 3

// nodeWriters is how many nodes are made at the same time.
const nodeWriters = 16

// Nodes returns the names of the nodes made by [Start] and [Host.AddNodes].
func (h *Host) Nodes() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.nodes)
}

// AddNodes adds n nodes, ready and free of taints when it returns.
func (h *Host) AddNodes(ctx context.Context, n int) error {
	h.mu.Lock()
	first := len(h.nodes)
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("sim-%04d", first+i))
	}
	h.nodes = append(h.nodes, names...)
	h.mu.Unlock()

	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(nodeWriters)
	for i, name := range names {
		group.Go(func() error { return h.addNode(ctx, name, first+i) })
	}
	return group.Wait()
}

func (h *Host) addNode(ctx context.Context, name string, index int) error {
	node := h.newNode(name, index)
	if _, err := h.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("cannot create simulated node %s: %w", name, err)
	}
	return nil
}

// newNode returns a node with all that a kubelet would report.
func (h *Host) newNode(name string, index int) *corev1.Node {
	zone := "zone-" + string(rune('a'+index%zones))
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				corev1.LabelHostname:           name,
				corev1.LabelArchStable:         "amd64",
				corev1.LabelOSStable:           "linux",
				corev1.LabelTopologyRegion:     "region-1",
				corev1.LabelTopologyZone:       zone,
				corev1.LabelInstanceTypeStable: "sim",
				typeLabel:                      typeValue,
			},
			Annotations: map[string]string{fakeAnnotation: fakeValue},
		},
		Spec: corev1.NodeSpec{
			PodCIDR:    podCIDR(index),
			PodCIDRs:   []string{podCIDR(index)},
			ProviderID: "sim://region-1/" + zone + "/" + name,
		},
		Status: corev1.NodeStatus{
			Capacity:    h.resources(),
			Allocatable: h.resources(),
			Phase:       corev1.NodeRunning,
			Conditions:  nodeConditions(metav1.Now()),
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: nodeIP(index)},
				{Type: corev1.NodeHostName, Address: name},
			},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: 10250}},
			NodeInfo: corev1.NodeSystemInfo{
				MachineID:               fmt.Sprintf("%032x", index),
				SystemUUID:              fmt.Sprintf("%032x", index),
				BootID:                  fmt.Sprintf("%032x", index),
				KernelVersion:           "6.1.0-sim",
				OSImage:                 "simulated",
				ContainerRuntimeVersion: "kwok://0.8.0",
				KubeletVersion:          kubernetesVersion(),
				OperatingSystem:         "linux",
				Architecture:            "amd64",
			},
			Images: nodeImages(h.options.NodeImages),
		},
	}
}

func (h *Host) resources() corev1.ResourceList {
	list := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse(h.options.NodeCPU),
		corev1.ResourceMemory:           resource.MustParse(h.options.NodeMemory),
		corev1.ResourcePods:             resource.MustParse(h.options.NodePods),
		corev1.ResourceEphemeralStorage: resource.MustParse("100Gi"),
	}
	if h.options.NodeGPUs > 0 {
		list["nvidia.com/gpu"] = resource.MustParse(strconv.Itoa(h.options.NodeGPUs))
	}
	return list
}

func nodeConditions(now metav1.Time) []corev1.NodeCondition {
	condition := func(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string) corev1.NodeCondition {
		return corev1.NodeCondition{
			Type: kind, Status: status, Reason: reason, Message: message,
			LastHeartbeatTime: now, LastTransitionTime: now,
		}
	}
	return []corev1.NodeCondition{
		condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
		condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
		condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
		condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"),
	}
}

// nodeImages returns n images with a tag and a digest each, of the length that such
// names have.
func nodeImages(n int) []corev1.ContainerImage {
	var images []corev1.ContainerImage
	for i := range n {
		name := fmt.Sprintf("registry.example.com/platform/component-%02d", i)
		images = append(images, corev1.ContainerImage{
			Names:     []string{fmt.Sprintf("%s@sha256:%064x", name, i), name + ":v1.0.0"},
			SizeBytes: int64(i+1) << 20,
		})
	}
	return images
}

// podCIDR gives each node 256 addresses of 10.128.0.0/9.
func podCIDR(index int) string {
	return fmt.Sprintf("10.%d.%d.0/24", 128+index/256%128, index%256)
}

func nodeIP(index int) string {
	return fmt.Sprintf("172.16.%d.%d", index/254%256, index%254+1)
}

// kubernetesVersion returns the version of Kubernetes that this program is built
// from. Nodes report it, as kubelets of the same release would.
func kubernetesVersion() string {
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range build.Deps {
			if dependency.Path == "k8s.io/kubernetes" {
				return dependency.Version
			}
		}
	}
	return "v0.0.0"
}
