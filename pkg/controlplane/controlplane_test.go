package controlplane

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}}},
	}
}

// TestControlPlane starts one control plane for all its sub-tests.
func TestControlPlane(t *testing.T) {
	t.Parallel()
	steps := newRecorder()
	kubelet := newFakeKubelet(t)
	p := startPlane(t, Config{
		AdvertiseAddress:    mustIP("10.1.2.3"),
		ServiceCIDR:         "10.96.0.0/16",
		KubernetesServiceIP: mustIP("10.96.7.7"),
		DNSServiceIP:        mustIP("10.96.8.8"),
		ExtraSANs:           []string{"shop.tenant.svc", "192.0.2.9"},
		KubeletDial:         kubelet.dial,
		Admission:           []Plugin{{Name: "recorder", Interface: steps}},
		Handlers: map[string]http.Handler{
			"/syncz": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("in sync")) }),
		},
	})
	awaitRoles(t, p)
	for name, test := range map[string]func(*testing.T, *plane){
		"SystemServices":          testSystemServices,
		"ComponentStatuses":       testComponentStatuses,
		"DeploymentBecomesPods":   testDeploymentBecomesPods,
		"NamespaceGoes":           testNamespaceGoes,
		"TokenRequest":            testTokenRequest,
		"PodToken":                testPodToken,
		"StaleToken":              testStaleToken,
		"NodeOfToken":             testNodeOfToken,
		"TokenSecret":             testTokenSecret,
		"TrustBundle":             testTrustBundle,
		"UnusedClassGoes":         testUnusedClassGoes,
		"PathsWithoutCredentials": testPathsWithoutCredentials,
		"PathsNeedARule":          testPathsNeedARule,
		"AdminOverTLS":            testAdminOverTLS,
		"RolesApplyInMemory":      testRolesApplyInMemory,
		"Watch":                   testWatch,
		"CustomResources":         testCustomResources,
		"TenantAdmins":            testTenantAdmins,
		"Apply":                   testApply,
		"Issuer":                  testIssuer,
		"PoliciesAreTypeChecked":  testPoliciesAreTypeChecked,
		"ServingNames":            testServingNames,
		"AdmissionRunsLast":       func(t *testing.T, p *plane) { testAdmissionRunsLast(t, p, steps) },
		"LogsReachTheKubelet":     func(t *testing.T, p *plane) { testLogsReachTheKubelet(t, p, kubelet) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, p)
		})
	}
}

// awaitRoles waits until the API server has the default roles in its cache.
func awaitRoles(t *testing.T, p *plane) {
	t.Helper()
	tenant := kubernetes.NewForConfigOrDie(p.kubeconfig(t, "kubernetes-admin", pki.GroupTenantAdmins))
	nobody := kubernetes.NewForConfigOrDie(p.ClientConfig("nobody"))
	eventually(t, "default roles", func(ctx context.Context) string {
		if _, err := tenant.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); err != nil {
			return err.Error()
		}
		if err := review(t, nobody); err != nil {
			return err.Error()
		}
		if code, body := p.get(t, "/version"); code != http.StatusOK {
			return body
		}
		return ""
	})
}

func testSystemServices(t *testing.T, p *plane) {
	for _, want := range []struct{ namespace, name, ip string }{
		{"default", "kubernetes", "10.96.7.7"},
		{"kube-system", "kube-dns", "10.96.8.8"},
	} {
		got, err := p.client.CoreV1().Services(want.namespace).Get(t.Context(), want.name, metav1.GetOptions{})
		if err != nil {
			t.Fatalf("service %s: %v", want.name, err)
		}
		if got.Spec.ClusterIP != want.ip {
			t.Errorf("service %s: address %s, want %s", want.name, got.Spec.ClusterIP, want.ip)
		}
		if got.Labels[labels.ControlPlaneService] != "true" {
			t.Errorf("service %s: labels %v, want %s", want.name, got.Labels, labels.ControlPlaneService)
		}
	}
	eventually(t, "endpoints of default/kubernetes", func(ctx context.Context) string {
		slices, err := p.client.DiscoveryV1().EndpointSlices("default").List(ctx,
			metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=kubernetes"})
		if err != nil {
			return err.Error()
		}
		if len(slices.Items) != 1 || len(slices.Items[0].Endpoints) != 1 {
			return fmt.Sprintf("got %v, want one endpoint", slices.Items)
		}
		got := net.JoinHostPort(slices.Items[0].Endpoints[0].Addresses[0], fmt.Sprint(*slices.Items[0].Ports[0].Port))
		_, port, _ := net.SplitHostPort(p.address)
		if want := net.JoinHostPort("10.1.2.3", port); got != want {
			return fmt.Sprintf("got %s, want %s", got, want)
		}
		return ""
	})
}

func testComponentStatuses(t *testing.T, p *plane) {
	// Another test takes the permissions of the tenant's own admins.
	admin := kubernetes.NewForConfigOrDie(p.kubeconfig(t, "admin", pki.GroupAdmins))
	eventually(t, "healthy components", func(ctx context.Context) string {
		found, err := admin.CoreV1().ComponentStatuses().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		if len(found.Items) != 3 {
			return fmt.Sprintf("got %d components, want 3", len(found.Items))
		}
		for _, one := range found.Items {
			if len(one.Conditions) != 1 || one.Conditions[0].Status != corev1.ConditionTrue {
				return fmt.Sprintf("%s: %v", one.Name, one.Conditions)
			}
		}
		return ""
	})
	if got, err := admin.CoreV1().ComponentStatuses().Get(t.Context(), "scheduler", metav1.GetOptions{}); err != nil || got.Name != "scheduler" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := admin.CoreV1().ComponentStatuses().Get(t.Context(), "none", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a component that is not there: %v", err)
	}
}

func testDeploymentBecomesPods(t *testing.T, p *plane) {
	ns := namespace(t, p, "deployment")
	three, run := int32(3), map[string]string{"app": "web"}
	_, err := p.client.AppsV1().Deployments(ns).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &three,
			Selector: &metav1.LabelSelector{MatchLabels: run},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: run}, Spec: pod("").Spec},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	count := func(want int) {
		t.Helper()
		eventually(t, "pods of the deployment", func(ctx context.Context) string {
			pods, err := p.client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
			if err != nil {
				return err.Error()
			}
			if len(pods.Items) != want {
				return fmt.Sprintf("got %d, want %d", len(pods.Items), want)
			}
			return ""
		})
	}
	count(3)
	// Without kubelets nobody confirms a graceful deletion, but pods that were
	// never bound go at once.
	if err := p.client.AppsV1().Deployments(ns).Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	count(0)
}

func namespace(t *testing.T, p *plane, name string) string {
	t.Helper()
	_, err := p.client.CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "default service account of "+name, func(ctx context.Context) string {
		_, err := p.client.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		ca, err := p.client.CoreV1().ConfigMaps(name).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if ca.Data["ca.crt"] != string(p.bundle.CA()) {
			return "kube-root-ca.crt holds another authority"
		}
		return ""
	})
	return name
}

func testNamespaceGoes(t *testing.T, p *plane) {
	ns := namespace(t, p, "doomed")
	_, err := p.client.CoreV1().ConfigMaps(ns).Create(t.Context(),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.client.CoreV1().Namespaces().Delete(t.Context(), ns, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "namespace", func(ctx context.Context) string {
		_, err := p.client.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Sprintf("still there: %v", err)
		}
		return ""
	})
}

func testWatch(t *testing.T, p *plane) {
	ns := namespace(t, p, "watch")
	for name, client := range map[string]kubernetes.Interface{
		"memory": p.client,
		"tls":    kubernetes.NewForConfigOrDie(p.kubeconfig(t, "admin", pki.GroupAdmins)),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		watch, err := client.CoreV1().ConfigMaps(ns).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, err = p.client.CoreV1().ConfigMaps(ns).Create(ctx,
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		event, ok := <-watch.ResultChan()
		if !ok || event.Type != "ADDED" {
			t.Errorf("%s: got %v, want an ADDED event", name, event)
		}
		cancel()
		for range watch.ResultChan() {
		}
	}
}

func testCustomResources(t *testing.T, p *plane) {
	config := p.ClientConfig("admin", pki.GroupAdmins)
	client := dynamic.NewForConfigOrDie(config)
	crds := client.Resource(schema.GroupVersionResource{
		Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
	})
	_, err := crds.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "rents.example.com"},
		"spec": map[string]any{
			"group": "example.com", "scope": "Namespaced",
			"names": map[string]any{"plural": "rents", "singular": "rent", "kind": "Rent"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{
					"type": "object", "x-kubernetes-preserve-unknown-fields": true,
				}},
			}},
		},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rents := client.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "rents"}).Namespace("default")
	eventually(t, "custom resource", func(ctx context.Context) string {
		_, err := rents.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "example.com/v1", "kind": "Rent", "metadata": map[string]any{"name": "may"}, "due": "soon",
		}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err.Error()
		}
		return ""
	})
	eventually(t, "schema of the custom resource", func(ctx context.Context) string {
		body, err := p.client.Discovery().RESTClient().Get().AbsPath("/openapi/v3/apis/example.com/v1").
			SetHeader("Accept", "application/json").Do(ctx).Raw()
		if err != nil {
			return err.Error()
		}
		if !strings.Contains(string(body), "com.example.v1.Rent") {
			return "the schema does not name Rent"
		}
		return ""
	})
}

func testApply(t *testing.T, p *plane) {
	apply := func(manager, key string) error {
		_, err := p.client.CoreV1().ConfigMaps("default").Apply(t.Context(),
			applycorev1.ConfigMap("applied", "default").WithData(map[string]string{key: manager}),
			metav1.ApplyOptions{FieldManager: manager})
		return err
	}
	for _, manager := range []string{"one", "two"} {
		if err := apply(manager, manager); err != nil {
			t.Fatalf("apply as %s: %v", manager, err)
		}
	}
	if err := apply("two", "one"); !apierrors.IsConflict(err) {
		t.Errorf("applying another manager's field: got %v, want a conflict", err)
	}
	got, err := p.client.CoreV1().ConfigMaps("default").Get(t.Context(), "applied", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Data) != 2 {
		t.Errorf("two managers applied a field each: got %v", got.Data)
	}
	for path, want := range map[string]string{
		"/openapi/v2":              "io.k8s.api.apps.v1.Deployment",
		"/openapi/v3":              "apis/apps/v1",
		"/openapi/v3/apis/apps/v1": "io.k8s.api.apps.v1.Deployment",
	} {
		eventually(t, path, func(ctx context.Context) string {
			body, err := p.client.Discovery().RESTClient().Get().AbsPath(path).
				SetHeader("Accept", "application/json").Do(ctx).Raw()
			if err != nil {
				return err.Error()
			}
			if !strings.Contains(string(body), want) {
				return "it does not say " + want
			}
			return ""
		})
	}
}
