package attacks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/sublet-dev/sublet/api/labels"
)

// standard is the setting that decides most of what a pod may have.
const standard = "policies.podSecurityStandard"

// withVolume returns a change that adds a volume.
func withVolume(source corev1.VolumeSource) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "evil", VolumeSource: source})
	}
}

// withContext returns a change of the security context of the container.
func withContext(c corev1.SecurityContext) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].SecurityContext = &c }
}

// deniedPods creates pods that would reach the node, in Deployments as well as alone.
func deniedPods(t *testing.T, s *site) {
	s.create(t, &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "operators-only"}, Handler: "x"})
	const volumes = "policies.pods.volumeTypes"
	for _, attack := range []struct {
		reason string
		change func(*corev1.Pod)
		want   string
	}{
		{"root of the node", withVolume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}), volumes},
		{"network of the node", func(p *corev1.Pod) { p.Spec.HostNetwork = true }, standard},
		{"processes of the node", func(p *corev1.Pod) { p.Spec.HostPID = true }, standard},
		{"memory of the node", func(p *corev1.Pod) { p.Spec.HostIPC = true }, standard},
		{"devices of the node", withContext(corev1.SecurityContext{Privileged: new(true)}), standard},
		{"privileged init container", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "x", SecurityContext: &corev1.SecurityContext{Privileged: new(true)}}}
		}, standard},
		{"capabilities", withContext(corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"SYS_ADMIN"}}}), standard},
		{"no seccomp", withContext(corev1.SecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}}), standard},
		{"port of the node", func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 10250, HostPort: 10250}}
		}, standard},
		{"network volume", withVolume(corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "192.0.2.1", Path: "/"}}), volumes},
		{"volume of a driver", withVolume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "csi.example.com"}}), "policies.pods.csiDrivers"},
		{"HostProcess of Windows", func(p *corev1.Pod) {
			p.Spec.HostNetwork = true
			p.Spec.SecurityContext = &corev1.PodSecurityContext{WindowsOptions: &corev1.WindowsSecurityContextOptions{HostProcess: new(true)}}
		}, "spec.securityContext.windowsOptions.hostProcess"}, // The API demands hostNetwork with it.
		{"runtime of the host", func(p *corev1.Pod) { p.Spec.RuntimeClassName = new("operators-only") }, "policies.pods.runtimeClasses"},
		{"nodes of the control plane", func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		}, "policies.pods.tolerations"},
		{"a lost node for ever", func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeOutOfService, Operator: corev1.TolerationOpExists}}
		}, "policies.pods.tolerations"},
		{"end in years", func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = new(int64(1 << 31)) }, "policies.pods.maxGracePeriodSeconds"},
		{"a node outside of the selection", func(p *corev1.Pod) { p.Spec.NodeName = "no-such-node" }, "sync.fromHost.nodes.selector"},
		{"whatever image a node has", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "sha256:3f57d940" }, "an ID is any image"},
		{"mirror pod", func(p *corev1.Pod) {
			p.Annotations, p.Spec.NodeName = map[string]string{corev1.MirrorPodAnnotationKey: "x"}, s.host.Nodes()[0]
		}, corev1.MirrorPodAnnotationKey},
	} {
		wantDenied(t, attack.reason, s.tenant.Create(t.Context(), newPod("denied", attack.change)), attack.want)
	}
}

// refusedBaseline runs a pod as root, which the policies allow and the host does not.
func refusedBaseline(t *testing.T, s *site) {
	pod := newPod("root", func(p *corev1.Pod) { p.Spec.SecurityContext = nil })
	s.create(t, pod)
	s.awaitEvent(t, pod.Name, "violates PodSecurity")
	if found, err := s.findCopy(t.Context(), client.ObjectKeyFromObject(pod), &corev1.Pod{}); err != nil || found {
		t.Errorf("the host runs it: %t, %v", found, err)
	}
}

// deniedQueues asks for queues of requests that take more memory than the control plane has.
func deniedQueues(t *testing.T, s *site) {
	level := &flowcontrolv1.PriorityLevelConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "endless"},
		Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
			Type: flowcontrolv1.PriorityLevelEnablementLimited,
			Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{LimitResponse: flowcontrolv1.LimitResponse{
				Type: flowcontrolv1.LimitResponseTypeQueue, Queuing: &flowcontrolv1.QueuingConfiguration{Queues: 10_000_000, HandSize: 1, QueueLengthLimit: 1},
			}},
		},
	}
	wantDenied(t, "ten million queues", s.tenant.Create(t.Context(), level), "at most 1000")
	level.Spec.Limited.LimitResponse.Queuing.Queues = 64
	s.create(t, level)
	patch := mergePatch(`{"spec":{"limited":{"limitResponse":{"queuing":{"queues":10000000}}}}}`)
	wantDenied(t, "the same by an update", s.tenant.Patch(t.Context(), level, patch), "at most 1000")
}

// deniedBindings binds a pod to nodes outside of the selection, and writes metadata with a binding that
// the pod may not have.
func deniedBindings(t *testing.T, s *site) {
	s.create(t, newPod("bound", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}} }))
	s.create(t, newPod("evil", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"example.com/no": "node"} }))
	node, key := s.host.Nodes()[0], "container.apparmor.security.beta.kubernetes.io/main"
	for _, attack := range []struct {
		reason, pod, node   string
		labels, annotations map[string]string
		want                string
	}{
		{"an unknown node", "bound", "no-such-node", nil, nil, "sync.fromHost.nodes.selector"},
		{"a mirror pod", "evil", node, nil, map[string]string{corev1.MirrorPodAnnotationKey: "x"}, "may not add mirror pod annotation"},
		{"no AppArmor", "evil", node, nil, map[string]string{key: "unconfined"}, "may not add AppArmor annotations"},
		{"a copy of a host object", "evil", node, nil, map[string]string{labels.HostUID: "x"}, labels.HostUID},
		{"annotations that prevent updates", "evil", node, nil, map[string]string{"example.com/a": strings.Repeat("x", 1<<18)}, "annotations: Too long"},
		{"labels that prevent updates", "evil", node, map[string]string{"example.com/a": "no label!"}, nil, "metadata.labels: Invalid value"},
	} {
		binding := &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: attack.pod, Labels: attack.labels, Annotations: attack.annotations},
			Target:     corev1.ObjectReference{Kind: "Node", Name: attack.node},
		}
		wantDenied(t, attack.reason, s.kube.CoreV1().Pods(virtualNamespace).Bind(t.Context(), binding, metav1.CreateOptions{}), attack.want)
		wantDenied(t, attack.reason+" in the old form", s.tenant.Create(t.Context(), binding), attack.want)
	}
	status := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"`+corev1.MirrorPodAnnotationKey+`":"x"}}}`))
	wantDenied(t, "a mirror pod by its status", s.tenant.Status().Patch(t.Context(), newPod("evil", nil), status), "may not add mirror pod annotation")
	allowed := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: "evil", Annotations: map[string]string{"example.com/rank": "1"}},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}
	if err := s.kube.CoreV1().Pods(virtualNamespace).Bind(t.Context(), allowed, metav1.CreateOptions{}); err != nil {
		t.Errorf("a binding with what a pod may have: %v", err)
	}
}

// refusedImage runs the chart's image of the control plane as the nodes have it. The fence refuses
// the copy, unless the node pulls with the pod's own credentials.
func refusedImage(t *testing.T, s *site) {
	const image = "ghcr.io/sublet-dev/sublet"
	for name, use := range map[string]func(*corev1.Pod){
		"never": func(p *corev1.Pod) {
			p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = image+":1.0.0", corev1.PullNever
		},
		"present": func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{
				Name: "init", Image: image + "@sha256:" + strings.Repeat("a", 64), ImagePullPolicy: corev1.PullIfNotPresent, SecurityContext: newContext(),
			}}
		},
	} {
		pod := newPod("image-"+name, use)
		s.create(t, pod)
		eventually(t, "the host refuses the image of pod "+pod.Name, func(ctx context.Context) error {
			if err := s.tenant.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
				return err
			}
			for _, condition := range pod.Status.Conditions {
				if condition.Reason == "HostRefused" && strings.Contains(condition.Message, "imagePullPolicy: Always") {
					return nil
				}
			}
			return fmt.Errorf("the pod has the conditions %s", textOf(t, pod.Status.Conditions))
		})
	}
	pulled := newPod("image-pulled", func(p *corev1.Pod) {
		p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = image+":latest", corev1.PullAlways
	})
	s.create(t, pulled)
	s.hostCopy(t, client.ObjectKeyFromObject(pulled), &corev1.Pod{})
	refusedImageUpdates(t, s, image+":1.0.0")
}

// refusedImageUpdates gives the image to containers of pods that run without it.
func refusedImageUpdates(t *testing.T, s *site, image string) {
	t.Helper()
	for _, list := range []string{"containers", "initContainers"} {
		pod, copied := newPod("image-update-"+strings.ToLower(list), func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "registry.example.com/init:1", SecurityContext: newContext()}}
		}), &corev1.Pod{}
		s.create(t, pod)
		s.hostCopy(t, client.ObjectKeyFromObject(pod), copied)
		name := map[string]string{"containers": "main", "initContainers": "init"}[list]
		patch := fmt.Sprintf(`{"spec":{%q:[{"name":%q,"image":%q}]}}`, list, name, image)
		if err := s.tenant.Patch(t.Context(), pod, client.RawPatch(types.StrategicMergePatchType, []byte(patch))); err != nil {
			t.Fatal(err)
		}
		s.awaitEvent(t, pod.Name, "imagePullPolicy: Always")
		s.hostCopy(t, client.ObjectKeyFromObject(pod), copied)
		for _, container := range append(copied.Spec.InitContainers, copied.Spec.Containers...) {
			if container.Image == image {
				t.Errorf("the host runs it in container %s", container.Name)
			}
		}
	}
}

// deniedDebugContainer adds a container to a pod that was allowed without it.
func deniedDebugContainer(t *testing.T, s *site) {
	pod := newPod("debugged", nil)
	s.create(t, pod)
	copied := &corev1.Pod{}
	s.hostCopy(t, client.ObjectKeyFromObject(pod), copied)
	patch := client.RawPatch(types.StrategicMergePatchType,
		[]byte(`{"spec":{"ephemeralContainers":[{"name":"evil","image":"x","securityContext":{"privileged":true}}]}}`))
	wantDenied(t, "a privileged debug container", s.tenant.SubResource("ephemeralcontainers").Patch(t.Context(), pod, patch), standard)
	eventually(t, "the pod has a node: before that, a delete takes no time", func(ctx context.Context) error {
		err := s.tenant.Get(ctx, client.ObjectKeyFromObject(pod), pod)
		if err == nil && pod.Spec.NodeName == "" {
			err = errors.New("it has none")
		}
		return err
	})
	long := client.GracePeriodSeconds(1 << 31)
	wantDenied(t, "a delete that takes years", s.tenant.Delete(t.Context(), newPod("debugged", nil), long), "policies.pods.maxGracePeriodSeconds")
}

// deniedServices asks for addresses and ports of the host.
func deniedServices(t *testing.T, s *site) {
	for _, attack := range []struct {
		reason string
		spec   corev1.ServiceSpec
		want   string
	}{
		{"traffic of any address", corev1.ServiceSpec{ExternalIPs: []string{"203.0.113.7"}}, "policies.services.externalIPs"},
		{"a certain port of all nodes", corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80, NodePort: 31234}},
		}, "policies.services.explicitNodePorts"},
		{"the address of a Service of others", corev1.ServiceSpec{ClusterIP: s.hostAPI(t)}, "already allocated"},
	} {
		if attack.spec.Ports == nil {
			attack.spec.Ports = []corev1.ServicePort{{Port: 443}}
		}
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: "denied"}, Spec: attack.spec}
		wantDenied(t, attack.reason, s.tenant.Create(t.Context(), service), attack.want)
	}
	found, err := s.findCopy(t.Context(), client.ObjectKey{Namespace: virtualNamespace, Name: "denied"}, &corev1.Service{})
	if err != nil || found {
		t.Errorf("a denied Service has a host copy: %t, %v", found, err)
	}
}

// deniedClaims asks for volumes that somebody has made for others.
func deniedClaims(t *testing.T, s *site) {
	for _, attack := range []struct {
		reason string
		change func(*corev1.PersistentVolumeClaimSpec)
		want   string
	}{
		{"a static volume by its label", func(c *corev1.PersistentVolumeClaimSpec) {
			c.StorageClassName, c.Selector = new(""), &metav1.LabelSelector{MatchLabels: map[string]string{"team": "another"}}
		}, "policies.volumes.staticClasses"},
		{"a volume by its name", func(c *corev1.PersistentVolumeClaimSpec) { c.VolumeName = "another" }, "spec.volumeName"},
		{"a class that is not shown", func(c *corev1.PersistentVolumeClaimSpec) { c.StorageClassName = new("secret") }, "sync.fromHost.storageClasses"},
	} {
		claim := &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: "denied"},
			Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}},
			},
		}
		attack.change(&claim.Spec)
		wantDenied(t, attack.reason, s.tenant.Create(t.Context(), claim), attack.want)
	}
}

// hostAPI returns the address of the host's API server inside the host.
func (s *site) hostAPI(t *testing.T) string {
	t.Helper()
	service := &corev1.Service{}
	if err := s.owner.Get(t.Context(), client.ObjectKey{Namespace: metav1.NamespaceDefault, Name: "kubernetes"}, service); err != nil {
		t.Fatal(err)
	}
	return service.Spec.ClusterIP
}

// deniedSlices leads a Service to a node and to the host's API server.
func deniedSlices(t *testing.T, s *site) {
	for _, address := range []string{"10.0.0.1", s.hostAPI(t)} {
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: virtualNamespace, Name: "denied", Labels: map[string]string{discoveryv1.LabelServiceName: "denied"},
			},
			AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}}},
		}
		wantDenied(t, "a slice that leads to "+address, s.tenant.Create(t.Context(), slice), "policies.endpoints.allowed")
	}
}

// deniedNodes makes nodes under the name of the syncer, and changes those of the host.
func deniedNodes(t *testing.T, s *site) {
	config := rest.CopyConfig(s.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:sublet:syncer", Groups: []string{"system:masters"}}
	syncer, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	forged := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "forged"}}
	wantDenied(t, "a node of who calls himself the syncer", syncer.Create(t.Context(), forged), "nodes")
	evict := func(ctx context.Context, c client.Client) error {
		// A patch, as the syncer writes nodes at the same time.
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: s.host.Nodes()[0]}}
		patch := []byte(`{"spec":{"taints":[{"key":"evil","effect":"NoExecute"}]}}`)
		return c.Patch(ctx, node, client.RawPatch(types.MergePatchType, patch))
	}
	for who, c := range map[string]client.Client{"the tenant": s.tenant, "who calls himself the syncer": syncer} {
		wantDenied(t, "a taint of "+who+" that evicts pods of others", evict(t.Context(), c), "forbidden")
	}
}

// deniedAggregation lets the API server call the host as if it were an API server of the
// tenant.
func deniedAggregation(t *testing.T, s *site) {
	scheme := runtime.NewScheme()
	if err := apiregistrationv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	http, err := rest.HTTPClientFor(s.config)
	if err != nil {
		t.Fatal(err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(s.config, http)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(s.config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	s.create(t, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: "host-api"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: s.hostAPI(t), Ports: []corev1.ServicePort{{Port: 443}}},
	})
	api := func(group, service string) *apiregistrationv1.APIService {
		return &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1." + group}, Spec: apiregistrationv1.APIServiceSpec{
			Group: group, Version: "v1", GroupPriorityMinimum: 1, VersionPriority: 1, InsecureSkipTLSVerify: true,
			Service: &apiregistrationv1.ServiceReference{Namespace: virtualNamespace, Name: service, Port: new(int32(443))},
		}}
	}
	wantDenied(t, "an API behind the address of the host", c.Create(t.Context(), api("evil.example.com", "host-api")), "policies.controlPlane.egress")
	wantDenied(t, "pods of an API server of the tenant", c.Create(t.Context(), api("apps", "mine")), "are built in, and only")
}
