package policy_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	podsecurity "k8s.io/pod-security-admission/policy"
	"pgregory.net/rapid"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// settingsOf returns the fields and settings of violations.
func settingsOf(violations []policy.Violation) []string {
	var texts []string
	for _, v := range violations {
		texts = append(texts, v.Field+" by "+v.Setting)
	}
	return texts
}

// anyPod draws a pod of which each part may break a standard.
func anyPod(t *rapid.T) *corev1.Pod {
	chance := func(label string) bool { return rapid.IntRange(0, 5).Draw(t, label) == 0 }
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	spec := &pod.Spec
	spec.HostNetwork, spec.HostPID, spec.HostIPC = chance("hostNetwork"), chance("hostPID"), chance("hostIPC")
	if chance("pod context") {
		spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: new(true), SeccompProfile: anyProfile(t)}
	}
	if chance("sysctl") {
		spec.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "kernel.msgmax", Value: "1"}}}
	}
	if chance("windows") {
		spec.OS = &corev1.PodOS{Name: corev1.Windows}
	}
	if chance("volume") {
		spec.Volumes = []corev1.Volume{{Name: "a", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
	}
	spec.Containers = anyContainers(t, 1, "main")
	spec.InitContainers = anyContainers(t, 0, "init")
	for _, c := range anyContainers(t, 0, "debug") {
		spec.EphemeralContainers = append(spec.EphemeralContainers,
			corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon(c)})
	}
	return pod
}

// anyProfile draws a seccomp profile.
func anyProfile(t *rapid.T) *corev1.SeccompProfile {
	types := []corev1.SeccompProfileType{corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined}
	return &corev1.SeccompProfile{Type: rapid.SampledFrom(types).Draw(t, "profile")}
}

// anyContainers draws up to two containers more than the least number.
func anyContainers(t *rapid.T, least int, name string) []corev1.Container {
	var containers []corev1.Container
	for i := range least + rapid.IntRange(0, 2).Draw(t, name) {
		c := corev1.Container{Name: name + string(rune('a'+i)), Image: "nginx"}
		context := &corev1.SecurityContext{}
		switch rapid.IntRange(0, 8).Draw(t, "fault") {
		case 0:
			context.Privileged = new(true)
		case 1:
			context.Capabilities = &corev1.Capabilities{Add: []corev1.Capability{"SYS_ADMIN"}}
		case 2:
			context.SeccompProfile = anyProfile(t)
		case 3:
			context.ProcMount = new(corev1.UnmaskedProcMount)
		case 4:
			context.RunAsUser = new(int64(0))
		case 5:
			context.WindowsOptions = &corev1.WindowsSecurityContextOptions{HostProcess: new(true)}
		case 6:
			c.Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}}
		default:
			context.AllowPrivilegeEscalation = new(false)
			context.RunAsNonRoot = new(true)
			context.Capabilities = &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}
			context.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
		}
		c.SecurityContext = context
		containers = append(containers, c)
	}
	return containers
}

// TestUserNamespaces checks that a pod is denied as if it had no user namespace, which the host may not have.
func TestUserNamespaces(t *testing.T) {
	t.Parallel()
	unmasked, root := corev1.UnmaskedProcMount, int64(0)
	pod := corev1.PodSpec{HostUsers: new(false), Containers: []corev1.Container{{
		Name: "root", SecurityContext: &corev1.SecurityContext{ProcMount: &unmasked, RunAsUser: &root},
	}}}
	for level, want := range map[api.Level][]string{
		api.LevelBaseline:   {"procMount"},
		api.LevelRestricted: {"procMount", "runAsUser"},
	} {
		settings := v1alpha1.Default().Policies
		settings.PodSecurityStandard = string(level)
		violations := policy.NewPods(settings, policy.PodOptions{}).Evaluate(&metav1.ObjectMeta{}, &pod)
		for _, field := range want {
			if path := "spec.containers[0].securityContext." + field; !slices.Contains(fieldsOf(violations), path) {
				t.Errorf("%s: denied are %v, want %s too", level, fieldsOf(violations), path)
			}
		}
	}
}

// TestStandardsAreUpstreams checks that a pod is denied exactly if upstream's evaluator
// denies it.
func TestStandardsAreUpstreams(t *testing.T) {
	t.Parallel()
	evaluator, err := podsecurity.NewEvaluator(podsecurity.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, level := range []api.Level{api.LevelPrivileged, api.LevelBaseline, api.LevelRestricted} {
		settings := v1alpha1.Default().Policies
		settings.PodSecurityStandard = string(level)
		rules := policy.NewPods(settings, policy.PodOptions{})
		rapid.Check(t, func(t *rapid.T) {
			pod := anyPod(t)
			pod.Spec.HostUsers = nil
			results := evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, &pod.ObjectMeta, &pod.Spec)
			want := podsecurity.AggregateCheckResults(results)
			got := slices.DeleteFunc(rules.Evaluate(&pod.ObjectMeta, &pod.Spec), func(v policy.Violation) bool {
				return v.Setting != "policies.podSecurityStandard"
			})
			if want.Allowed != (len(got) == 0) {
				t.Fatalf("%s: upstream allows=%t (%s), got %v", level, want.Allowed, want.ForbiddenDetail(), got)
			}
			for _, v := range got {
				if v.Field == "" || strings.HasSuffix(v.Field, ".") {
					t.Fatalf("%s: the field of %v is not whole", level, v)
				}
			}
		})
	}
}

// TestEveryVolumeTypeIsDecided checks that a type of a new Kubernetes is denied, and that
// somebody has to decide whether an operator can allow it.
func TestEveryVolumeTypeIsDecided(t *testing.T) {
	t.Parallel()
	field, _ := reflect.TypeFor[v1alpha1.PodPolicy]().FieldByName("VolumeTypes")
	choices := v1alpha1.RuleOf(field).Enum
	allowed := v1alpha1.Default().Policies.Pods.VolumeTypes
	// The API server or the kubelet of this version refuses these.
	removed := []string{"glusterfs", "gitRepo", "flocker", "quobyte", "photonPersistentDisk", "portworxVolume", "scaleIO", "storageos"}
	source := reflect.TypeFor[corev1.VolumeSource]()
	for i := range source.NumField() {
		name, _, _ := strings.Cut(source.Field(i).Tag.Get("json"), ",")
		if name != "csi" && !slices.Contains(choices, name) && !slices.Contains(removed, name) {
			t.Errorf("%s is in no list: decide whether policies.pods.volumeTypes can name it", name)
		}
		volume := corev1.Volume{Name: "a"}
		reflect.ValueOf(&volume.VolumeSource).Elem().Field(i).Set(reflect.New(source.Field(i).Type.Elem()))
		spec := &corev1.PodSpec{Volumes: []corev1.Volume{volume}}
		violations := policy.NewPods(v1alpha1.Default().Policies, policy.PodOptions{}).Evaluate(&metav1.ObjectMeta{}, spec)
		if denied := len(violations) > 0; denied == slices.Contains(allowed, name) {
			t.Errorf("a volume of the type %s: denied=%t", name, denied)
		}
	}
}

// TestImages checks that an image is compared as a container runtime completes its name.
func TestImages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason, pattern, image string
		allowed                bool
	}{
		{"a short name is one of Docker Hub", "docker.io/library/nginx", "nginx:1.29", true},
		{"without a tag", "docker.io/library/nginx", "docker.io/nginx", true},
		{"an old name of the registry", "docker.io/library/nginx", "index.docker.io/nginx@sha256:0", true},
		{"another image with the same beginning", "docker.io/library/nginx", "nginx-evil", false},
		{"a path of Docker Hub", "docker.io/shop/*", "shop/web:1", true},
		{"a registry in upper case is no path of Docker Hub", "docker.io/*", "EVIL/web", false},
		{"a registry with a port", "docker.io/*", "evil:5000/web", false},
		{"a registry without a dot", "docker.io/*", "localhost/web", false},
		{"another registry with the same beginning", "ghcr.io/shop/*", "ghcr.io.example.com/shop/web", false},
		{"another owner with the same beginning", "ghcr.io/shop/*", "ghcr.io/shopping/web", false},
		{"one tag", "ghcr.io/shop/web:1*", "ghcr.io/shop/web:1.2", true},
	} {
		settings := v1alpha1.Default().Policies
		settings.Images.Allowed = []string{c.pattern}
		rules := policy.NewPods(settings, policy.PodOptions{})
		common := corev1.EphemeralContainerCommon{Name: "a", Image: c.image}
		places := map[string]corev1.PodSpec{
			"spec.containers[0].image":          {Containers: []corev1.Container{corev1.Container(common)}},
			"spec.initContainers[0].image":      {InitContainers: []corev1.Container{corev1.Container(common)}},
			"spec.ephemeralContainers[0].image": {EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: common}}},
		}
		for field, spec := range places {
			var want []string
			if !c.allowed {
				want = []string{field + " by policies.images.allowed"}
			}
			if diff := cmp.Diff(want, settingsOf(rules.Evaluate(&metav1.ObjectMeta{}, &spec))); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", c.reason, field, diff)
			}
		}
	}
}

// TestImageIDs checks that no setting lets a pod use an image by its ID.
func TestImageIDs(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("a", 64)
	for image, denied := range map[string]bool{
		digest:                     true,
		"sha256:aaaa":              true,
		"sha512:aaaa":              true,
		"nginx@" + digest:          false,
		"nginx:1.29":               false,
		"docker.io/library/sha256": false,
		"sha256sum:1":              false,
	} {
		for _, allowed := range [][]string{nil, {"*"}, {"docker.io/library/*"}} {
			settings := v1alpha1.Default().Policies
			settings.Images.Allowed, settings.Pods.VolumeTypes = allowed, []string{"image"}
			spec := corev1.PodSpec{
				Containers: []corev1.Container{{Name: "a", Image: image}},
				Volumes:    []corev1.Volume{{Name: "b", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: image}}}},
			}
			var want []string
			if denied {
				want = []string{"spec.containers[0].image by ", "spec.volumes[0].image.reference by "}
			}
			if diff := cmp.Diff(want, settingsOf(policy.NewPods(settings, policy.PodOptions{}).Evaluate(&metav1.ObjectMeta{}, &spec))); diff != "" {
				t.Errorf("%s, allowed %q (-want +got):\n%s", image, allowed, diff)
			}
		}
	}
}

// TestEvaluateCopy checks what reaches the host of a pod that admission did not deny.
func TestEvaluateCopy(t *testing.T) {
	t.Parallel()
	rules := policy.NewPods(v1alpha1.Default().Policies, policy.PodOptions{})
	evil := corev1.Container{Name: "evil", SecurityContext: &corev1.SecurityContext{Privileged: new(true)}}
	debug := func(c corev1.Container) []corev1.EphemeralContainer {
		return []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon(c)}}
	}
	fine := corev1.Container{Name: "fine"}
	for _, c := range []struct {
		reason        string
		virtual, host corev1.Pod
		want          []string
	}{
		{
			"without a host copy, everything counts",
			corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{evil}}}, corev1.Pod{},
			[]string{"spec.containers[0].securityContext.privileged by policies.podSecurityStandard"},
		},
		{
			"a pod that runs stays",
			corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{evil}, EphemeralContainers: debug(fine)}},
			corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}}, nil,
		},
		{
			"a further debug container counts",
			corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{evil}, EphemeralContainers: debug(evil)}},
			corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}},
			[]string{"spec.ephemeralContainers[0].securityContext.privileged by policies.podSecurityStandard"},
		},
		{
			"a debug container that runs stays",
			corev1.Pod{Spec: corev1.PodSpec{EphemeralContainers: debug(evil)}},
			corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}, Spec: corev1.PodSpec{EphemeralContainers: debug(evil)}}, nil,
		},
	} {
		if diff := cmp.Diff(c.want, settingsOf(rules.EvaluateCopy(&c.virtual, &c.host))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}
