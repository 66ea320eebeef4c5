package check

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	discoveryfake "k8s.io/client-go/discovery/fake"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	apirelease "github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

// given is a host of a test.
type given struct {
	objects []runtime.Object
	// denied are permissions that the user lacks, as in "create secrets". With "get namespaces", the
	// host refuses the request too.
	denied []string
	// refused is the answer to the creation of a resource.
	refused map[string]error
	// claim is the class of the claim of the control plane, nil for no claim.
	claim *string
	// noNamespace is true if the namespace does not exist.
	noNamespace bool
	// installed is true if the virtual cluster exists.
	installed bool
	// lacks is a group and version that the host does not serve.
	lacks string
	// version is the version of the host.
	version string
	// whole is true if the chart renders a ClusterRole, and binding if it renders a RoleBinding.
	whole, binding bool
}

// newTarget returns a target on such a host.
func newTarget(t *testing.T, g given) *target {
	t.Helper()
	client := fake.NewClientset(g.objects...)
	found := client.Discovery().(*discoveryfake.FakeDiscovery)
	found.FakedServerVersion = &version.Info{GitVersion: "v1.37.0"}
	if g.version != "" {
		found.FakedServerVersion.GitVersion = g.version
	}
	for _, list := range []*metav1.APIResourceList{
		{GroupVersion: "v1", APIResources: []metav1.APIResource{{Name: "services", Kind: "Service", Namespaced: true}}},
		{GroupVersion: "apps/v1", APIResources: []metav1.APIResource{{Name: "statefulsets", Kind: "StatefulSet", Namespaced: true}, {Name: "statefulsets/scale", Kind: "StatefulSet", Namespaced: true}}},
		{GroupVersion: "rbac.authorization.k8s.io/v1", APIResources: []metav1.APIResource{{Name: "clusterroles", Kind: "ClusterRole"}, {Name: "rolebindings", Kind: "RoleBinding", Namespaced: true}}},
	} {
		if list.GroupVersion != g.lacks {
			found.Resources = append(found.Resources, list)
		}
	}
	dynamic := dynamicfake.NewSimpleDynamicClient(runtime.NewScheme())
	for resourceName, err := range g.refused {
		refuseCreate := func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, err }
		client.PrependReactor("create", resourceName, refuseCreate)
		dynamic.PrependReactor("create", resourceName, refuseCreate)
	}
	client.PrependReactor("create", "selfsubjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
		attributes := review.Spec.ResourceAttributes
		review.Status.Allowed = true
		for _, denied := range g.denied {
			if denied == attributes.Verb+" "+attributes.Resource {
				review.Status.Allowed = false
			}
		}
		return true, review, nil
	})
	for _, denied := range g.denied {
		verb, resourceName, _ := strings.Cut(denied, " ")
		client.PrependReactor(verb, resourceName, func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, forbidden(resourceName, "no")
		})
	}
	target := &target{
		Release: apirelease.Release{Name: "shop", Namespace: "tenant"}, client: client, objects: dynamic,
		hasNamespace: !g.noNamespace, rendered: rendered(t, g.claim),
	}
	for kind, isThere := range map[string]bool{"ClusterRole": g.whole, "RoleBinding": g.binding} {
		if isThere {
			object := unstructured.Unstructured{}
			object.SetGroupVersionKind(schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: kind})
			target.rendered = append(target.rendered, object)
		}
	}
	if g.installed {
		target.installed = &release.Cluster{Release: target.Release, Replicas: 1, Ready: 1}
	}
	return target
}

// forbidden returns a refusal of the host.
func forbidden(resourceName, text string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: resourceName}, "x", errors.New(text))
}

// rendered returns what the chart renders, as far as the checks look.
func rendered(t *testing.T, claim *string) []unstructured.Unstructured {
	t.Helper()
	set := &appsv1.StatefulSet{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"}, ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	set.Spec.Template.Labels = map[string]string{"team": "a", componentLabel: "control-plane"}
	set.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	set.Spec.Template.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsNonRoot: new(true)}
	set.Spec.Template.Spec.Containers = []corev1.Container{{
		Name: "sublet", Image: "registry.example.com/sublet:1", SecurityContext: &corev1.SecurityContext{ReadOnlyRootFilesystem: new(true)},
		Resources:    corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}},
		VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}},
	}}
	if claim != nil {
		set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{}}
		if *claim != "" {
			set.Spec.VolumeClaimTemplates[0].Spec.StorageClassName = claim
		}
	}
	service := &corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
	objects := []unstructured.Unstructured{}
	for _, object := range []runtime.Object{service, set} {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, unstructured.Unstructured{Object: content})
	}
	return objects
}

// meta returns metadata in the namespace of the tests.
func meta(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name, Namespace: "tenant"} }

// namespaceWith returns the namespace of the tests with labels.
func namespaceWith(labels map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "tenant", Labels: labels}}
}

// class returns a StorageClass.
func class(name, isDefault string) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{defaultClass: isDefault}}}
}

// quota returns a quota of pods.
func quota(used, hard string) *corev1.ResourceQuota {
	return &corev1.ResourceQuota{ObjectMeta: meta("q"), Status: corev1.ResourceQuotaStatus{
		Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse(hard)}, Used: corev1.ResourceList{corev1.ResourcePods: resource.MustParse(used)},
	}}
}

// controlPlanePod returns a pod of the control plane that waits for a reason, or is ready.
func controlPlanePod(reason string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: meta("shop-0"), Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	if reason != "" {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "why"}}}}
	}
	return pod
}

// dns returns the DNS Service of the host with a number of ready endpoints.
func dns(ready bool) []runtime.Object {
	labels := map[string]string{"k8s-app": "kube-dns"}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "kube-dns", Namespace: "kube-system", Labels: labels}}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "kube-system", Labels: map[string]string{discoveryv1.LabelServiceName: "kube-dns"}}}
	slice.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}}
	return []runtime.Object{service, slice}
}

// inContext returns a check with the context of the test.
func inContext(t *testing.T, check func(*target, context.Context) result) func(*target) result {
	t.Helper()
	return func(target *target) result { return check(target, t.Context()) }
}

// TestChecks makes each check on a host that is fine, and on hosts that are not.
func TestChecks(t *testing.T) {
	t.Parallel()
	none, fast := "", "fast"
	denied := func(permissions ...string) given { return given{denied: permissions} }
	withObjects := func(objects ...runtime.Object) given { return given{objects: objects} }
	for _, c := range []struct {
		reason       string
		host         given
		check        func(*target) result
		status, part string // part of message or fix
	}{
		{"version", given{}, inContext(t, (*target).checkVersion), passed, "v1.37.0"},
		{"an old version", given{version: "v1.29.4-gke.1"}, inContext(t, (*target).checkVersion), failed, "1.30"},
		{"a version of a vendor", given{version: "v1.31.1+k3s1"}, inContext(t, (*target).checkVersion), passed, "k3s1"},
		{"all kinds", given{}, inContext(t, (*target).checkAPIs), passed, "all 2 kinds"},
		{"a kind is missing", given{lacks: "apps/v1"}, inContext(t, (*target).checkAPIs), failed, "apps/v1 StatefulSet"},
		{"namespace", withObjects(namespaceWith(nil)), inContext(t, (*target).checkNamespace), passed, "exists"},
		{"namespace to create", given{}, inContext(t, (*target).checkNamespace), passed, "creates it"},
		{"namespace that the user may not create", denied("create namespaces"), inContext(t, (*target).checkNamespace), failed, "may not create it"},
		{"namespace that the user may not get", denied("get namespaces"), inContext(t, (*target).checkNamespace), skipped, "may not look"},
		{"permissions", given{}, inContext(t, (*target).checkPermissions), passed, "may install"},
		{"permissions that are missing", denied("create secrets", "patch statefulsets", "create pods"), inContext(t, (*target).checkPermissions), failed, "create secrets, create pods/portforward, patch statefulsets.apps"},
		{"permissions in the whole host", given{whole: true, denied: []string{"create clusterroles"}}, inContext(t, (*target).checkPermissions), failed, "--set sync.fromHost.nodes.enabled=false"},
		{"a binding of a role that does not exist yet", given{binding: true, refused: map[string]error{"rolebindings": apierrors.NewNotFound(schema.GroupResource{Resource: "roles"}, "shop")}}, inContext(t, (*target).checkInstall), passed, "all 3 objects"},
		{"permissions that the user cannot grant", given{refused: map[string]error{"services": forbidden("services", "attempting to grant RBAC permissions not currently held")}}, inContext(t, (*target).checkInstall), failed, "sublet-installer"},
		{"install", given{}, inContext(t, (*target).checkInstall), passed, "all 2 objects"},
		{"install without a namespace", given{noNamespace: true}, inContext(t, (*target).checkInstall), skipped, "does not exist"},
		{"install of what is installed", given{installed: true}, inContext(t, (*target).checkInstall), skipped, "already"},
		{"a webhook refuses", given{refused: map[string]error{"statefulsets": forbidden("statefulsets", "denied by a webhook")}}, inContext(t, (*target).checkInstall), failed, "denied by a webhook"},
		{"something has its name", given{refused: map[string]error{"services": apierrors.NewAlreadyExists(schema.GroupResource{Resource: "services"}, "shop")}}, inContext(t, (*target).checkInstall), failed, "delete services shop"},
		{"pod", given{}, inContext(t, (*target).checkPods), passed, "accepts"},
		{"the quota has no room", given{refused: map[string]error{"pods": forbidden("pods", "exceeded quota: q")}}, inContext(t, (*target).checkPods), failed, "describe quota"},
		{"a quota wants limits", given{refused: map[string]error{"pods": forbidden("pods", "failed quota: q: must specify limits.cpu for: sublet")}}, inContext(t, (*target).checkPods), failed, "in controlPlane.statefulSet.resources"},
		{"a limit range refuses", given{refused: map[string]error{"pods": forbidden("pods", "minimum cpu usage per Container is 1, but request is 100m")}}, inContext(t, (*target).checkPods), failed, "describe limitrange"},
		{"OpenShift refuses", given{refused: map[string]error{"pods": forbidden("pods", "unable to validate against any security context constraint")}}, inContext(t, (*target).checkPods), failed, "podSecurityContext to null"},
		{"pod security refuses", given{refused: map[string]error{"pods": forbidden("pods", `violates PodSecurity "restricted"`)}}, inContext(t, (*target).checkPods), failed, "security contexts"},
		{"the user may not create pods", given{refused: map[string]error{"pods": forbidden("pods", `User "a" cannot create resource "pods"`)}}, inContext(t, (*target).checkPods), skipped, "may not create pods"},
		{"no level", withObjects(namespaceWith(nil)), inContext(t, (*target).checkPodSecurity), warned, "kubectl label namespace tenant"},
		{"restricted", withObjects(namespaceWith(map[string]string{enforceLabel: "restricted"})), inContext(t, (*target).checkPodSecurity), warned, "policies.podSecurityStandard"},
		{"baseline", withObjects(namespaceWith(map[string]string{enforceLabel: "baseline"})), inContext(t, (*target).checkPodSecurity), passed, "baseline"},
		{"no quota", given{}, inContext(t, (*target).checkQuota), passed, "0 quotas"},
		{"quota", withObjects(quota("8", "10")), inContext(t, (*target).checkQuota), passed, "1 quotas"},
		{"quota that is used up", withObjects(quota("9", "10")), inContext(t, (*target).checkQuota), warned, "9 of 10"},
		{"a claim without a default class", given{claim: &none}, inContext(t, (*target).checkStorage), failed, "volumeClaim.storageClass"},
		{"a claim with a default class", given{claim: &none, objects: []runtime.Object{class("std", "true")}}, inContext(t, (*target).checkStorage), passed, "std"},
		{"a claim with a class that is missing", given{claim: &fast, objects: []runtime.Object{class("std", "true")}}, inContext(t, (*target).checkStorage), failed, "Use one of: std"},
		{"no claim and no default class", withObjects(class("std", "false")), inContext(t, (*target).checkStorage), warned, "stay pending"},
		{"classes that the user may not list", denied("list storageclasses"), inContext(t, (*target).checkStorage), skipped, "may not list"},
		{"dns", withObjects(dns(true)...), inContext(t, (*target).checkDNS), passed, "1 ready endpoints"},
		{"dns without pods", withObjects(dns(false)...), inContext(t, (*target).checkDNS), failed, "no ready endpoint"},
		{"no dns", given{}, inContext(t, (*target).checkDNS), warned, "no DNS Service"},
		{"an image without --pull", given{}, inContext(t, (*target).checkImage), skipped, "--pull"},
		{"an image that is there", given{installed: true, objects: []runtime.Object{controlPlanePod("")}}, inContext(t, (*target).checkImage), passed, "has pulled"},
		{"an image that is missing", given{installed: true, objects: []runtime.Object{controlPlanePod("ErrImagePull")}}, inContext(t, (*target).checkImage), failed, "ErrImagePull: why"},
		{"an image that nobody needed yet", given{installed: true, objects: []runtime.Object{controlPlanePod("ContainerCreating")}}, inContext(t, (*target).checkImage), skipped, "has started"},
		{"a ready replica", given{installed: true, objects: []runtime.Object{controlPlanePod("")}}, inContext(t, (*target).checkReplicas), passed, "1 of 1"},
		{"a replica that crashes", given{installed: true, objects: []runtime.Object{controlPlanePod("CrashLoopBackOff")}}, inContext(t, (*target).checkReplicas), failed, "CrashLoopBackOff"},
	} {
		got := c.check(newTarget(t, c.host))
		if got.Status != c.status || !strings.Contains(got.Message+"\n"+got.Fix, c.part) {
			t.Errorf("%s: got %+v, want %s with %q", c.reason, got, c.status, c.part)
		}
		if got.Status == failed && got.Fix == "" {
			t.Errorf("%s: no fix", c.reason)
		}
	}
}

// TestPull starts the pod that pulls the image, and checks that it is deleted.
func TestPull(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason, waits, status string
	}{
		{"it starts", "", passed},
		{"the image is missing", "ErrImagePull", failed},
	} {
		target := newTarget(t, given{})
		target.pullTimeout = time.Minute
		client := target.client.(*fake.Clientset)
		client.PrependReactor("create", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
			pod := action.(clienttesting.CreateAction).GetObject().(*corev1.Pod)
			container := pod.Spec.Containers[0]
			if pod.Labels["team"] != "a" || pod.Labels[componentLabel] != "check" || pod.Spec.NodeSelector["disk"] != "ssd" || pod.Spec.SecurityContext.RunAsUser != nil ||
				!*container.SecurityContext.ReadOnlyRootFilesystem || container.Resources.Limits.Cpu().Value() != 1 || len(container.VolumeMounts) > 0 {
				t.Errorf("the pod is not as that of the control plane: %+v", pod)
			}
			return false, nil, nil
		})
		client.PrependReactor("get", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			pod := controlPlanePod(c.waits)
			if c.waits == "" {
				pod.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}}
			}
			return true, pod, nil
		})
		if got := target.checkImage(t.Context()); got.Status != c.status {
			t.Errorf("%s: got %+v", c.reason, got)
		}
		pods, err := client.Tracker().List(corev1.SchemeGroupVersion.WithResource("pods"), corev1.SchemeGroupVersion.WithKind("Pod"), "tenant")
		if err != nil || len(pods.(*corev1.PodList).Items) != 0 {
			t.Errorf("%s: the pod stays: %v, %v", c.reason, pods, err)
		}
	}
}

// TestSkew compares clocks that differ.
func TestSkew(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 1, 1, 0, 0, 10, 500_000_000, time.UTC)
	for _, c := range []struct {
		reason string
		server time.Time
		took   time.Duration
		want   string
	}{
		{"the same second", began.Truncate(time.Second), 0, passed},
		{"a slow answer from its start", began.Truncate(time.Second), time.Minute, passed},
		{"a slow answer from its end", began.Add(time.Minute).Truncate(time.Second), time.Minute, passed},
		{"ten seconds behind", began.Add(-10 * time.Second).Truncate(time.Second), 0, warned},
		{"ten seconds ahead", began.Add(10 * time.Second).Truncate(time.Second), 0, warned},
		{"an hour behind", began.Add(-time.Hour).Truncate(time.Second), 0, failed},
		{"an hour ahead", began.Add(time.Hour).Truncate(time.Second), time.Second, failed},
	} {
		if got := judgeSkew("clock", c.server, began, began.Add(c.took)); got.Status != c.want {
			t.Errorf("%s: got %+v", c.reason, got)
		}
	}
}

// TestClock asks a server for its time.
func TestClock(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", "Thu, 01 Jan 2026 00:00:00 GMT")
	}))
	t.Cleanup(server.Close)
	now := func() time.Time { return time.Date(2026, 1, 1, 0, 5, 0, 0, time.UTC) }
	if got := checkClock(t.Context(), &rest.Config{Host: server.URL}, now); got.Status != failed || !strings.Contains(got.Message, "4m59s") {
		t.Errorf("got %+v", got)
	}
}

// TestExitError checks the exit codes.
func TestExitError(t *testing.T) {
	t.Parallel()
	unreachable := result{Name: reachName, Status: failed, Code: fault.Unreachable}
	for _, c := range []struct {
		reason  string
		results []result
		want    int
	}{
		{"all is fine", []result{pass("a", "x"), warn("b", "y", "x"), skip("c", "x")}, 0},
		{"one failed", []result{pass("a", "x"), {Name: "b", Status: failed, Code: fault.Denied}}, fault.Failed},
		{"the host does not answer", []result{unreachable}, fault.Unreachable},
	} {
		err := exitError(c.results)
		got := 0
		if exit := (*fault.ExitError)(nil); errors.As(err, &exit) {
			got = exit.Code
		}
		if got != c.want {
			t.Errorf("%s: exit code %d, want %d", c.reason, got, c.want)
		}
	}
}
