package translate

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// input returns what most tests use.
func input() PodInput {
	return PodInput{
		PodSettings:    PodSettings{KubernetesServiceIP: "10.96.0.20", DNSServiceIP: "10.96.0.21", ClusterDomain: "cluster.local"},
		Cluster:        shop,
		ServiceAccount: "shop-workload",
	}
}

// webPod returns a virtual pod, changed by edits.
func webPod(change ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-0", UID: "virtual-uid", Generation: 1, Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{
			Containers:                    []corev1.Container{{Name: "web", Image: "nginx:1"}},
			DNSPolicy:                     corev1.DNSClusterFirst,
			RestartPolicy:                 corev1.RestartPolicyAlways,
			SchedulerName:                 corev1.DefaultSchedulerName,
			ServiceAccountName:            "default",
			DeprecatedServiceAccount:      "default",
			EnableServiceLinks:            new(true),
			TerminationGracePeriodSeconds: new(int64(30)),
		},
	}
	for _, c := range change {
		c(pod)
	}
	return pod
}

// stamped returns the empty host pod of a virtual one.
func stamped(virtual *corev1.Pod) *corev1.Pod {
	host := &corev1.Pod{}
	Stamp(shop, Hashed, keyOf(virtual.Namespace, virtual.Name), virtual.UID, host)
	return host
}

// created returns the host pod of a new virtual one.
func created(t *testing.T, in PodInput, virtual *corev1.Pod) *corev1.Pod {
	t.Helper()
	host := stamped(virtual)
	if err := Pod(in, virtual, host); err != nil {
		t.Fatalf("Pod: %v", err)
	}
	if len(host.Spec.EphemeralContainers) > 0 {
		t.Errorf("a pod is created with ephemeral containers, which no API server takes")
	}
	host.UID = "host-uid"
	host.Generation = 1
	if err := Pod(in, virtual, host); err != nil {
		t.Fatalf("Pod, of one that exists: %v", err)
	}
	return host
}

// TestEveryFieldOfThePodSpecIsDecided fails when Kubernetes adds a field to the
// pod's spec: somebody has to think about what it means on the host.
func TestEveryFieldOfThePodSpecIsDecided(t *testing.T) {
	t.Parallel()
	decided := map[string][]string{
		"copied": {
			"RestartPolicy", "TerminationGracePeriodSeconds", "ActiveDeadlineSeconds", "NodeSelector", "HostNetwork", "HostPID",
			"HostIPC", "ShareProcessNamespace", "SecurityContext", "Tolerations", "HostAliases", "RuntimeClassName", "OS", "HostUsers", "Resources",
		},
		"translated": {
			"Volumes", "InitContainers", "Containers", "EphemeralContainers", "DNSPolicy", "DNSConfig", "ServiceAccountName",
			"AutomountServiceAccountToken", "NodeName", "ImagePullSecrets", "Hostname", "HostnameOverride", "Subdomain", "SetHostnameAsFQDN",
			"Affinity", "EnableServiceLinks", "TopologySpreadConstraints", "SchedulingGates", "ReadinessGates", "ResourceClaims",
		},
		"dropped": {
			"DeprecatedServiceAccount", "SchedulerName", "PriorityClassName", "Priority", "PreemptionPolicy", "Overhead", "EvictionResponders",
		},
		"refused": {"SchedulingGroup"},
	}
	var want, got []string
	for _, fields := range decided {
		want = append(want, fields...)
	}
	for field := range reflect.TypeFor[corev1.PodSpec]().Fields() {
		got = append(got, field.Name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields of the pod's spec that nobody has decided about (-decided +there):\n%s", diff)
	}
}

// TestEveryFieldIsDecided does the same for volumes, what projected ones are made of, containers and
// what they may do on a node. It also counts those of statuses, Services, endpoints and claims.
func TestEveryFieldIsDecided(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		of     reflect.Type
		fields int
	}{
		"VolumeSource":        {reflect.TypeFor[corev1.VolumeSource](), 30},
		"VolumeProjection":    {reflect.TypeFor[corev1.VolumeProjection](), 6},
		"EnvVarSource":        {reflect.TypeFor[corev1.EnvVarSource](), 5},
		"EnvFromSource":       {reflect.TypeFor[corev1.EnvFromSource](), 3},
		"PodAffinityTerm":     {reflect.TypeFor[corev1.PodAffinityTerm](), 6},
		"PodStatus":           {reflect.TypeFor[corev1.PodStatus](), 22},
		"Container":           {reflect.TypeFor[corev1.Container](), 25},
		"SecurityContext":     {reflect.TypeFor[corev1.SecurityContext](), 12},
		"PodSecurityContext":  {reflect.TypeFor[corev1.PodSecurityContext](), 13},
		"ContainerStatus":     {reflect.TypeFor[corev1.ContainerStatus](), 15},
		"VolumeMountStatus":   {reflect.TypeFor[corev1.VolumeMountStatus](), 5},
		"PodCondition":        {reflect.TypeFor[corev1.PodCondition](), 7},
		"ServiceSpec":         {reflect.TypeFor[corev1.ServiceSpec](), 20},
		"ServicePort":         {reflect.TypeFor[corev1.ServicePort](), 6},
		"ServiceStatus":       {reflect.TypeFor[corev1.ServiceStatus](), 2},
		"LoadBalancerIngress": {reflect.TypeFor[corev1.LoadBalancerIngress](), 4},
		"ClaimSpec":           {reflect.TypeFor[corev1.PersistentVolumeClaimSpec](), 9},
		"ClaimStatus":         {reflect.TypeFor[corev1.PersistentVolumeClaimStatus](), 9},
		"EndpointSlice":       {reflect.TypeFor[discoveryv1.EndpointSlice](), 5},
		"Endpoint":            {reflect.TypeFor[discoveryv1.Endpoint](), 8},
	}
	for name, tt := range tests {
		if got := tt.of.NumField(); got != tt.fields {
			t.Errorf("%s has %d fields, %d were thought about", name, got, tt.fields)
		}
	}
}

func TestPodDoesNotTouchTheVirtualPod(t *testing.T) {
	t.Parallel()
	virtual := everything()
	before := virtual.DeepCopy()
	host := created(t, input(), virtual)
	if err := Pod(input(), virtual, host); err != nil {
		t.Fatal(err)
	}
	PodStatus(shop, host, virtual.DeepCopy())
	References(virtual)
	TokenRequests(virtual)
	if diff := cmp.Diff(before, virtual); diff != "" {
		t.Errorf("the virtual pod is shared with a cache and has changed (-before +after):\n%s", diff)
	}
}

func TestPodIsStable(t *testing.T) {
	t.Parallel()
	tests := map[string]*corev1.Pod{"Plain": webPod(), "Everything": everything()}
	for name, virtual := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := created(t, input(), virtual)
			before := host.DeepCopy()
			if err := Pod(input(), virtual, host); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, host); diff != "" {
				t.Errorf("nothing changed, and still the host pod would be patched (-before +after):\n%s", diff)
			}
			again := created(t, input(), virtual)
			if diff := cmp.Diff(before, again); diff != "" {
				t.Errorf("the same pod is translated in two ways:\n%s", diff)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason string
		change func(*corev1.Pod)
		want   []string
	}{
		"ResourceClaims": {
			reason: "claims of devices have no copy on the host unless the kind is on",
			change: func(pod *corev1.Pod) { pod.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu"}} },
			want:   []string{"spec.resourceClaims", "resources.limits"},
		},
		"SchedulingGroup": {
			reason: "running the pods of a group one by one would be something else",
			change: func(pod *corev1.Pod) { pod.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{} },
			want:   []string{"spec.schedulingGroup"},
		},
		"All": {
			reason: "all problems are said at once",
			change: func(pod *corev1.Pod) {
				pod.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu"}}
				pod.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{}
			},
			want: []string{"spec.resourceClaims", "spec.schedulingGroup"},
		},
		"LongFQDN": {
			reason: "no kernel takes such a host name",
			change: func(pod *corev1.Pod) {
				pod.Spec.SetHostnameAsFQDN = new(true)
				pod.Spec.Subdomain = strings.Repeat("s", 50)
			},
			want: []string{"spec.setHostnameAsFQDN", "at most 64"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual := webPod(tt.change)
			host := stamped(virtual)
			err := Pod(input(), virtual, host)
			if _, ok := errors.AsType[*UnsupportedError](err); !ok {
				t.Fatalf("%s: got error %v, want a UnsupportedError", tt.reason, err)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s: error %q does not say %q", tt.reason, err, part)
				}
			}
			if len(host.Spec.Containers) > 0 {
				t.Errorf("%s: a host pod all the same", tt.reason)
			}
		})
	}
}

// TestDropped holds that what is for the virtual cluster alone does not reach the
// host.
func TestDropped(t *testing.T) {
	t.Parallel()
	virtual := webPod(func(pod *corev1.Pod) {
		pod.Finalizers = []string{"example.com/hold"}
		pod.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web"}}
		pod.GenerateName = "web-"
		pod.Spec.PriorityClassName, pod.Spec.Priority = "system-node-critical", new(int32(2000001000))
		pod.Spec.PreemptionPolicy = new(corev1.PreemptLowerPriority)
		pod.Spec.Overhead = quantities("cpu", "1")
		pod.Spec.SchedulerName = "mine"
		pod.Spec.EvictionResponders = make([]corev1.EvictionResponder, 1)
	})
	host := created(t, input(), virtual)
	want := corev1.PodSpec{
		ServiceAccountName: "shop-workload", AutomountServiceAccountToken: new(false), EnableServiceLinks: new(false),
		Hostname: "web-0", RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: new(int64(30)),
		DNSPolicy: host.Spec.DNSPolicy, DNSConfig: host.Spec.DNSConfig, Containers: host.Spec.Containers,
	}
	if diff := cmp.Diff(want, host.Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	if len(host.Finalizers) > 0 || host.GenerateName != "" || len(host.OwnerReferences) != 1 || host.OwnerReferences[0].Kind != "ConfigMap" {
		t.Errorf("metadata of the virtual pod reached the host: %v", host.ObjectMeta)
	}
}

func TestHostname(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 62) + "-" + strings.Repeat("b", 20)
	tests := map[string]struct {
		reason             string
		change             func(*corev1.Pod)
		hostname, override string
	}{
		"Name":      {reason: "a pod is called as it is", change: func(*corev1.Pod) {}, hostname: "web-0"},
		"Chosen":    {reason: "the tenant chose one", change: func(p *corev1.Pod) { p.Spec.Hostname = "db" }, hostname: "db"},
		"Long":      {reason: "as a kubelet cuts it, no dash at the end", change: func(p *corev1.Pod) { p.Name = long }, hostname: strings.Repeat("a", 62)},
		"Dots":      {reason: "a pod's name may hold dots", change: func(p *corev1.Pod) { p.Name = "web.v1" }, override: "web.v1"},
		"Subdomain": {reason: "the short name stays short", change: func(p *corev1.Pod) { p.Spec.Subdomain = "web" }, hostname: "web-0"},
		"FQDN": {
			reason:   "the tenant asked for the whole name, which must be the virtual one",
			change:   func(p *corev1.Pod) { p.Spec.Subdomain, p.Spec.SetHostnameAsFQDN = "web", new(true) },
			override: "web-0.web.default.svc.cluster.local",
		},
		"FQDNWithoutSubdomain": {
			reason:   "there is no whole name without a subdomain",
			change:   func(p *corev1.Pod) { p.Spec.SetHostnameAsFQDN = new(true) },
			hostname: "web-0",
		},
		"Override":    {reason: "the tenant's own override wins", change: func(p *corev1.Pod) { p.Spec.HostnameOverride = new("x.y") }, override: "x.y"},
		"HostNetwork": {reason: "such a pod has the node's name", change: func(p *corev1.Pod) { p.Spec.HostNetwork = true }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := created(t, input(), webPod(tt.change)).Spec
			override := ""
			if spec.HostnameOverride != nil {
				override = *spec.HostnameOverride
			}
			if spec.Hostname != tt.hostname || override != tt.override || spec.Subdomain != "" || spec.SetHostnameAsFQDN != nil {
				t.Errorf("%s: hostname %q, override %q, subdomain %q, FQDN %v; want %q and %q",
					tt.reason, spec.Hostname, override, spec.Subdomain, spec.SetHostnameAsFQDN, tt.hostname, tt.override)
			}
		})
	}
}

func quantities(pairs ...string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		list[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return list
}

func TestDownwardFormat(t *testing.T) {
	t.Parallel()
	got := formatMap(map[string]string{"b": "two\nlines", "a": `say "hi"`})
	if want := "a=\"say \\\"hi\\\"\"\nb=\"two\\nlines\""; got != want {
		t.Errorf("formatMap = %q, want %q, as the downward API writes it", got, want)
	}
	got = formatMap(map[string]string{"app": "a", "app.kubernetes.io/name": "b"})
	if want := "app=\"a\"\napp.kubernetes.io/name=\"b\""; got != want {
		t.Errorf("formatMap = %q, want %q, sorted by key", got, want)
	}
	virtual := webPod(func(pod *corev1.Pod) {
		pod.Annotations = map[string]string{"note": "n", "other": "o"}
		pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "NOTE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations['note']"}}}}
	})
	host := created(t, input(), virtual)
	if host.Annotations[TenantLabel("note")] != "n" {
		t.Errorf("the annotation that the pod reads is not there: %v", host.Annotations)
	}
	for _, foreign := range []string{"note", "other", TenantLabel("other")} {
		if _, there := host.Annotations[foreign]; there {
			t.Errorf("annotation %s reached the host, where tools of the host may act on it", foreign)
		}
	}
	virtual.Annotations["note"] = "changed"
	if err := Pod(input(), virtual, host); err != nil || host.Annotations[TenantLabel("note")] != "changed" {
		t.Errorf("a change does not arrive: %v, %v", host.Annotations, err)
	}
	delete(virtual.Annotations, "note")
	if err := Pod(input(), virtual, host); err != nil || host.Annotations[TenantLabel("note")] != "" {
		t.Errorf("a removal does not arrive: %v, %v", host.Annotations, err)
	}
	if host.Annotations[labels.VirtualName] != "web-0" {
		t.Errorf("the identity is gone: %v", host.Annotations)
	}
}

// TestLongestFQDN takes a whole host name of 64 characters, as a kubelet does.
func TestLongestFQDN(t *testing.T) {
	t.Parallel()
	in := PodInput{PodSettings: PodSettings{ClusterDomain: "cluster.local"}}
	virtual := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db-0"}, Spec: corev1.PodSpec{SetHostnameAsFQDN: new(true)}}
	virtual.Spec.Subdomain = strings.Repeat("s", 64-len("db-0..shop.svc.cluster.local"))
	if err := setHostname(in, virtual, virtual.Spec.DeepCopy()); err != nil {
		t.Error(err)
	}
}
