package admission

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

var updateGolden = flag.Bool("update", false, "rewrite the golden files")

// podRequest is a request about pods of a tenant who impersonates the syncer.
type podRequest struct {
	operation   admission.Operation
	resource    schema.GroupVersionResource
	subresource string
	object, old runtime.Object
	options     runtime.Object
}

// attributes returns the request as plugins get it.
func (r podRequest) attributes() admission.Attributes {
	return admission.NewAttributesRecord(r.object, r.old, schema.GroupVersionKind{}, "shop", "web", r.resource, r.subresource,
		r.operation, r.options, false, &user.DefaultInfo{Name: "system:sublet:syncer", Groups: []string{user.SystemPrivilegedGroup}})
}

// review returns the text that the tenant reads, empty for a request that is allowed.
func review(t *testing.T, settings v1alpha1.Policies, r podRequest) string {
	t.Helper()
	r.resource = cmp.Or(r.resource, corev1.SchemeGroupVersion.WithResource("pods"))
	plugin := Policy(PolicyOptions{Checks: PolicyChecks(&v1alpha1.Config{Policies: settings}, nil)})
	err := plugin.Validate(t.Context(), r.attributes(), admission.NewObjectInterfacesFromScheme(scheme.Scheme))
	if err == nil {
		return ""
	}
	return err.Error()
}

// readPod returns a pod with this spec.
func readPod(t *testing.T, spec string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &pod.Spec); err != nil {
		t.Fatalf("%v in\n%s", err, spec)
	}
	return pod
}

// checkGolden compares texts by name with a golden file.
func checkGolden(t *testing.T, file string, texts map[string]string) {
	t.Helper()
	var got strings.Builder
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		fmt.Fprintf(&got, "== %s\n%s\n\n", name, texts[name])
	}
	path := filepath.Join("testdata", "denials", file)
	if *updateGolden {
		if err := os.WriteFile(path, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-want +got); -update rewrites it:\n%s", path, diff)
	}
}

const (
	plain   = "{name: web, image: nginx}"
	oneInit = "containers: [" + plain + "]\ninitContainers: [{name: setup, image: busybox"
)

// deniedPods returns specs of pods that the defaults deny.
func deniedPods() map[string]string {
	denied := map[string]string{
		"hostNetwork":             "hostNetwork: true\ncontainers: [" + plain + "]",
		"hostPID":                 "hostPID: true\ncontainers: [" + plain + "]",
		"hostIPC and hostPID":     "hostIPC: true\nhostPID: true\ncontainers: [" + plain + "]",
		"privileged":              "containers: [{name: web, image: nginx, securityContext: {privileged: true}}]",
		"privileged second":       "containers: [" + plain + ", {name: evil, image: nginx, securityContext: {privileged: true}}]",
		"privileged init":         oneInit + ", securityContext: {privileged: true}}]",
		"privileged ephemeral":    "containers: [" + plain + "]\nephemeralContainers: [{name: debug, image: busybox, securityContext: {privileged: true}}]",
		"capabilities":            "containers: [{name: web, image: nginx, securityContext: {capabilities: {add: [SYS_ADMIN, NET_ADMIN]}}}]",
		"capabilities init":       oneInit + ", securityContext: {capabilities: {add: [SYS_PTRACE]}}}]",
		"seccomp of the pod":      "securityContext: {seccompProfile: {type: Unconfined}}\ncontainers: [" + plain + "]",
		"seccomp":                 "containers: [{name: web, image: nginx, securityContext: {seccompProfile: {type: Unconfined}}}]",
		"apparmor of the pod":     "securityContext: {appArmorProfile: {type: Unconfined}}\ncontainers: [" + plain + "]",
		"apparmor":                "containers: [{name: web, image: nginx, securityContext: {appArmorProfile: {type: Unconfined}}}]",
		"selinux":                 "securityContext: {seLinuxOptions: {type: spc_t}}\ncontainers: [" + plain + "]",
		"procMount":               "containers: [{name: web, image: nginx, securityContext: {procMount: Unmasked}}]",
		"sysctl":                  "securityContext: {sysctls: [{name: kernel.msgmax, value: '1'}]}\ncontainers: [" + plain + "]",
		"host process":            "hostNetwork: true\nsecurityContext: {windowsOptions: {hostProcess: true}}\ncontainers: [" + plain + "]",
		"host process container":  "containers: [{name: web, image: nginx, securityContext: {windowsOptions: {hostProcess: true}}}]",
		"host port":               "containers: [{name: web, image: nginx, ports: [{containerPort: 80, hostPort: 10250}]}]",
		"host port init":          oneInit + ", ports: [{containerPort: 80}, {containerPort: 81, hostPort: 80}]}]",
		"image by its ID":         "containers: [{name: web, image: 'sha256:3f57d9401f8d42f986df300f0c69192fc41da28ccc8d797829467780db3dd741'}]",
		"probe of a host":         "containers: [{name: web, image: nginx, livenessProbe: {httpGet: {host: 169.254.169.254, port: 80}}}]",
		"runtime class":           "runtimeClassName: runc-root\ncontainers: [" + plain + "]",
		"every taint":             "tolerations: [{operator: Exists}]\ncontainers: [" + plain + "]",
		"control plane":           "tolerations: [{key: node-role.kubernetes.io/control-plane, operator: Exists, effect: NoSchedule}]\ncontainers: [" + plain + "]",
		"dedicated":               "tolerations: [{key: node.kubernetes.io/not-ready, operator: Exists}, {key: dedicated, value: gpu}]\ncontainers: [" + plain + "]",
		"out of service":          "tolerations: [{key: node.kubernetes.io/out-of-service, operator: Exists, effect: NoExecute, tolerationSeconds: 300}]\ncontainers: [" + plain + "]",
		"grace":                   "terminationGracePeriodSeconds: 2147483647\ncontainers: [" + plain + "]",
		"grace of a probe":        "containers: [{name: web, image: nginx, livenessProbe: {tcpSocket: {port: 80}, terminationGracePeriodSeconds: 3601}}]",
		"grace of a startup":      "containers: [{name: web, image: nginx, startupProbe: {tcpSocket: {port: 80}, terminationGracePeriodSeconds: 86400}}]",
		"csi":                     "containers: [" + plain + "]\nvolumes: [{name: vol, csi: {driver: secrets-store.csi.k8s.io, volumeAttributes: {secretProviderClass: operators-own}}}]",
		"resource claims":         "resourceClaims: [{name: gpu, resourceClaimName: gpu}]\ncontainers: [" + plain + "]",
		"two fields, one setting": "containers: [" + plain + "]\nvolumes: [{name: a, nfs: {server: 192.0.2.1, path: /}}, {name: b, iscsi: {targetPortal: a, iqn: b, lun: 1}}]",
	}
	for name, source := range map[string]string{
		"hostPath": "{path: /}", "nfs": "{server: 192.0.2.1, path: /}", "rbd": "{monitors: [a], image: b}", "cephfs": "{monitors: [a]}",
		"glusterfs": "{endpoints: a, path: b}", "fc": "{}", "flexVolume": "{driver: a}", "awsElasticBlockStore": "{volumeID: a}",
		"azureDisk": "{diskName: a, diskURI: b}", "azureFile": "{secretName: a, shareName: b}", "gcePersistentDisk": "{pdName: a}",
		"vsphereVolume": "{volumePath: a}", "cinder": "{volumeID: a}", "gitRepo": "{repository: a}", "image": "{reference: nginx}",
	} {
		denied["volume "+name] = "containers: [" + plain + "]\nvolumes: [" + plain[:len("{name: web")] + ", " + name + ": " + source + "}]"
	}
	return denied
}

// TestPodDenials checks what a tenant reads about each pod that the defaults deny.
func TestPodDenials(t *testing.T) {
	t.Parallel()
	texts := map[string]string{}
	for name, spec := range deniedPods() {
		text := review(t, v1alpha1.Default().Policies, podRequest{operation: admission.Create, object: readPod(t, spec)})
		if text == "" {
			t.Errorf("%s is allowed", name)
		}
		texts[name] = text
	}
	restricted := v1alpha1.Default().Policies
	restricted.PodSecurityStandard = "restricted"
	texts["restricted"] = review(t, restricted, podRequest{operation: admission.Create, object: readPod(t, "containers: ["+plain+"]")})
	images := v1alpha1.Default().Policies
	images.Images.Allowed = []string{"registry.example.com/shop/*", "docker.io/library/nginx"}
	texts["image"] = review(t, images, podRequest{operation: admission.Create, object: readPod(t, oneInit+"}]")})
	texts["grace of a delete"] = review(t, v1alpha1.Default().Policies, podRequest{
		operation: admission.Delete, options: &metav1.DeleteOptions{GracePeriodSeconds: new(int64(1 << 31))},
	})
	texts["grace of an eviction"] = review(t, v1alpha1.Default().Policies, podRequest{
		operation: admission.Create, subresource: "eviction",
		object: &policyv1.Eviction{DeleteOptions: &metav1.DeleteOptions{GracePeriodSeconds: new(int64(7200))}},
	})
	mirror := readPod(t, "containers: ["+plain+"]")
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	texts["mirror pod"] = review(t, v1alpha1.Default().Policies, podRequest{operation: admission.Create, object: mirror})
	texts["mirror pod by update"] = review(t, v1alpha1.Default().Policies, podRequest{
		operation: admission.Update, object: mirror, old: readPod(t, "containers: ["+plain+"]"),
	})
	checkGolden(t, "pods.txt", texts)
}

// TestAllowedPods checks that ordinary pods pass, and what the settings allow.
func TestAllowedPods(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason  string
		spec    string
		setting func(*v1alpha1.Policies)
	}{
		{"a plain pod", "containers: [" + plain + "]", nil},
		{"what a service account gets", "containers: [" + plain + "]\nvolumes: [{name: a, projected: {sources: [{serviceAccountToken: {path: token}}]}}]", nil},
		{
			"tolerations of DaemonSets",
			"tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute}, " +
				"{key: node.kubernetes.io/disk-pressure, operator: Exists, effect: NoSchedule}]\ncontainers: [" + plain + "]",
			nil,
		},
		{"data of its own", "containers: [" + plain + "]\nvolumes: [{name: a, persistentVolumeClaim: {claimName: a}}, {name: b, ephemeral: {}}, {name: c, emptyDir: {}}]", nil},
		{"an hour to end", "terminationGracePeriodSeconds: 3600\ncontainers: [" + plain + "]", nil},
		{"the default runtime class", "runtimeClassName: ''\ncontainers: [" + plain + "]", nil},
		{"a privileged pod by setting", deniedPods()["privileged"], func(p *v1alpha1.Policies) { p.PodSecurityStandard = "privileged" }},
		{"a driver by setting", deniedPods()["csi"], func(p *v1alpha1.Policies) { p.Pods.CSIDrivers = []string{"secrets-store.csi.k8s.io"} }},
		{"a volume by setting", deniedPods()["volume nfs"], func(p *v1alpha1.Policies) { p.Pods.VolumeTypes = []string{"nfs"} }},
		{"every taint by setting", deniedPods()["every taint"], func(p *v1alpha1.Policies) { p.Pods.Tolerations = []string{"*"} }},
		{"what the API server adds to each pod, whatever the setting", "tolerations: [{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}]\ncontainers: [" + plain + "]",
			func(p *v1alpha1.Policies) { p.Pods.Tolerations = nil }},
		{"a taint by setting", deniedPods()["dedicated"], func(p *v1alpha1.Policies) { p.Pods.Tolerations = []string{"dedicated", "node.kubernetes.io/*"} }},
		{"nodes out of service by setting", deniedPods()["out of service"], func(p *v1alpha1.Policies) { p.Pods.Tolerations = []string{"node.kubernetes.io/out-of-service"} }},
		{"a runtime by setting", deniedPods()["runtime class"], func(p *v1alpha1.Policies) { p.Pods.RuntimeClasses = []string{"runc-root"} }},
		{"a port by two settings", deniedPods()["host port"], func(p *v1alpha1.Policies) {
			p.PodSecurityStandard, p.Pods.HostPorts = "privileged", []string{"80", "10000-10999"}
		}},
		{"an image by its name", "containers: [{name: a, image: 'nginx:1.29'}, {name: b, image: docker.io/nginx}]", func(p *v1alpha1.Policies) {
			p.Images.Allowed = []string{"docker.io/library/nginx"}
		}},
	} {
		settings := v1alpha1.Default().Policies
		if c.setting != nil {
			c.setting(&settings)
		}
		if text := review(t, settings, podRequest{operation: admission.Create, object: readPod(t, c.spec)}); text != "" {
			t.Errorf("%s: %s", c.reason, text)
		}
	}
}

// TestPodUpdates checks that an update is checked by what it makes worse.
func TestPodUpdates(t *testing.T) {
	t.Parallel()
	privileged, fine := readPod(t, deniedPods()["privileged"]), readPod(t, "containers: ["+plain+"]")
	labelled := privileged.DeepCopy()
	labelled.Labels = map[string]string{"a": "b"}
	tolerating := fine.DeepCopy()
	tolerating.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	debugged := readPod(t, deniedPods()["privileged ephemeral"])
	for _, c := range []struct {
		reason      string
		old, object *corev1.Pod
		subresource string
		denied      bool
	}{
		{"a label of a pod that is older than the policy", privileged, labelled, "", false},
		{"a toleration is added", fine, tolerating, "", true},
		{"a debug container", fine, debugged, "ephemeralcontainers", true},
		{"a debug container without rights", fine, readPod(t, "containers: ["+plain+"]\nephemeralContainers: [{name: debug, image: busybox}]"), "ephemeralcontainers", false},
		{"a resize that changes the context too", fine, privileged, "resize", true},
		{"the status alone", fine, privileged, "status", false},
	} {
		text := review(t, v1alpha1.Default().Policies, podRequest{operation: admission.Update, subresource: c.subresource, object: c.object, old: c.old})
		if (text != "") != c.denied {
			t.Errorf("%s: denied=%t, want %t: %s", c.reason, text != "", c.denied, text)
		}
	}
}

// TestTemplates checks that objects with a template of pods get a warning and are stored.
func TestTemplates(t *testing.T) {
	t.Parallel()
	template := corev1.PodTemplateSpec{Spec: readPod(t, deniedPods()["privileged"]).Spec}
	recorder := &warnings{}
	plugin := Policy(PolicyOptions{Checks: PolicyChecks(v1alpha1.Default(), nil)})
	a := podRequest{
		operation: admission.Create, resource: appsv1.SchemeGroupVersion.WithResource("deployments"),
		object: &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Template: template}},
	}.attributes()
	ctx := warning.WithWarningRecorder(t.Context(), recorder)
	if err := plugin.Validate(ctx, a, admission.NewObjectInterfacesFromScheme(scheme.Scheme)); err != nil {
		t.Errorf("the Deployment is denied: %v", err)
	}
	want := []string{"pods of this template will be denied: " + policy.Message(
		policy.NewPods(v1alpha1.Default().Policies, policy.PodOptions{}).Evaluate(&template.ObjectMeta, &template.Spec))}
	if diff := gocmp.Diff(want, recorder.texts); diff != "" {
		t.Errorf("the warnings (-want +got):\n%s", diff)
	}
}

// warnings records the warnings of one request.
type warnings struct{ texts []string }

// AddWarning implements warning.Recorder.
func (w *warnings) AddWarning(_, text string) { w.texts = append(w.texts, text) }

// TestPodStatus changes the annotations of a pod by way of its status.
func TestPodStatus(t *testing.T) {
	t.Parallel()
	pod := func(annotations map[string]string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: annotations},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "nginx"}}},
		}
	}
	forged, plain := pod(map[string]string{corev1.MirrorPodAnnotationKey: "x"}), pod(map[string]string{"a": "b"})
	for name, tc := range map[string]struct {
		now    *corev1.Pod
		denied bool
	}{"Mirror": {now: forged, denied: true}, "Other": {now: plain}} {
		request := podRequest{operation: admission.Update, subresource: "status", object: tc.now, old: pod(nil)}
		if text := review(t, v1alpha1.Default().Policies, request); (text != "") != tc.denied {
			t.Errorf("%s: got %q", name, text)
		}
	}
}
