package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// recorder is an admission step that remembers pods and refuses some.
type recorder struct {
	*admission.Handler
	mu   sync.Mutex
	pods map[string]*corev1Labels
}

type corev1Labels struct {
	labels         map[string]string
	serviceAccount string
}

func newRecorder() *recorder {
	return &recorder{Handler: admission.NewHandler(admission.Create), pods: map[string]*corev1Labels{}}
}

var (
	_ admission.MutationInterface   = &recorder{}
	_ admission.ValidationInterface = &recorder{}
)

func (r *recorder) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().Resource != "pods" || a.GetSubresource() != "" {
		return nil
	}
	meta, ok := a.GetObject().(metav1.Object)
	if !ok {
		return fmt.Errorf("unexpected object %T", a.GetObject())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pods[a.GetName()] = &corev1Labels{labels: meta.GetLabels()}
	return nil
}

func (r *recorder) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if strings.HasPrefix(a.GetName(), "refused") {
		return admission.NewForbidden(a, errors.New("the host would not take it"))
	}
	return nil
}

func (r *recorder) saw(name string) *corev1Labels {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pods[name]
}

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
	p := launch(t, Config{
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
	for name, test := range map[string]func(*testing.T, *plane){
		"SystemServices":          testSystemServices,
		"DeploymentBecomesPods":   testDeploymentBecomesPods,
		"NamespaceGoes":           testNamespaceGoes,
		"TokenRequest":            testTokenRequest,
		"TokenSecret":             testTokenSecret,
		"PathsWithoutCredentials": testPathsWithoutCredentials,
		"AdminOverTLS":            testAdminOverTLS,
		"RolesApplyInMemory":      testRolesApplyInMemory,
		"Watch":                   testWatch,
		"CustomResources":         testCustomResources,
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

// whoami asks, over TLS, who the bearer of a token is.
func whoami(t *testing.T, p *plane, token string) authenticationv1.UserInfo {
	t.Helper()
	config := &rest.Config{
		Host: "https://" + p.address, BearerToken: token,
		TLSClientConfig: rest.TLSClientConfig{CAData: p.bundle.CA()},
	}
	review, err := kubernetes.NewForConfigOrDie(config).AuthenticationV1().SelfSubjectReviews().
		Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("with a token: %v", err)
	}
	return review.Status.UserInfo
}

func testTokenRequest(t *testing.T, p *plane) {
	ns := namespace(t, p, "tokens")
	hour := int64(3607) // the lifetime that upstream secretly prolongs to a year
	answer, err := p.client.CoreV1().ServiceAccounts(ns).CreateToken(t.Context(), "default",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hour}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(answer.Status.ExpirationTimestamp.Time); left > 2*time.Hour {
		t.Errorf("a token for an hour is valid for %s", left)
	}
	if got, want := whoami(t, p, answer.Status.Token).Username, "system:serviceaccount:tokens:default"; got != want {
		t.Errorf("the token is %s's, want %s", got, want)
	}
}

func testTokenSecret(t *testing.T, p *plane) {
	ns := namespace(t, p, "token-secrets")
	_, err := p.client.CoreV1().Secrets(ns).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "token", Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var token string
	eventually(t, "secret", func(ctx context.Context) string {
		secret, err := p.client.CoreV1().Secrets(ns).Get(ctx, "token", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		token = string(secret.Data[corev1.ServiceAccountTokenKey])
		if token == "" {
			return "no token in it"
		}
		return ""
	})
	if got, want := whoami(t, p, token).Username, "system:serviceaccount:token-secrets:default"; got != want {
		t.Errorf("the token is %s's, want %s", got, want)
	}
}

func testPathsWithoutCredentials(t *testing.T, p *plane) {
	for path, want := range map[string]struct {
		code int
		body string
	}{
		"/syncz":                      {200, "in sync"},
		"/livez":                      {200, "ok"},
		"/readyz":                     {200, "ok"},
		"/healthz":                    {200, "ok"},
		"/version":                    {200, "gitVersion"},
		"/api/v1/pods":                {403, "forbidden"},
		"/api/v1/namespaces/a/b":      {403, "forbidden"},
		"/metrics":                    {403, "forbidden"},
		"/openapi/v2":                 {403, "forbidden"},
		"/debug/pprof/":               {403, "forbidden"},
		"/syncz/../api/v1/namespaces": {403, "forbidden"},
	} {
		code, body := p.get(t, path)
		if code != want.code {
			t.Errorf("GET %s: got %d, want %d", path, code, want.code)
		}
		contains(t, "GET "+path, body, want.body)
	}
}

func testAdminOverTLS(t *testing.T, p *plane) {
	admin := kubernetes.NewForConfigOrDie(p.kubeconfig(t, "shop-admin", pki.GroupAdmins))
	if _, err := admin.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("an administrator cannot list nodes: %v", err)
	}
	// The heap of the process holds the host's secrets as well as the tenant's.
	err := admin.CoreV1().RESTClient().Get().AbsPath("/debug/pprof/heap").Do(t.Context()).Error()
	if !apierrors.IsNotFound(err) {
		t.Errorf("an administrator asks for the heap of the process: got %v, want not found", err)
	}
	body, err := admin.CoreV1().RESTClient().Get().AbsPath("/metrics").Do(t.Context()).Raw()
	if err != nil {
		t.Errorf("an administrator cannot read the metrics: %v", err)
	}
	contains(t, "metrics", string(body), "apiserver_request_total")

	nobody := kubernetes.NewForConfigOrDie(p.kubeconfig(t, "nobody"))
	if _, err := nobody.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a user without rights lists nodes: got %v, want forbidden", err)
	}
}

func testRolesApplyInMemory(t *testing.T, p *plane) {
	nobody := kubernetes.NewForConfigOrDie(p.ClientConfig("nobody"))
	if _, err := nobody.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a user without rights lists pods in memory: got %v, want forbidden", err)
	}
	review, err := nobody.AuthenticationV1().SelfSubjectReviews().
		Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := review.Status.UserInfo; got.Username != "nobody" || fmt.Sprint(got.Groups) != "[system:authenticated]" {
		t.Errorf("the caller is %v, want nobody in system:authenticated", got)
	}
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

func testIssuer(t *testing.T, p *plane) {
	body, err := p.client.Discovery().RESTClient().Get().AbsPath("/.well-known/openid-configuration").Do(t.Context()).Raw()
	if err != nil {
		t.Fatal(err)
	}
	contains(t, "issuer", string(body), `"issuer":"https://kubernetes.default.svc.cluster.local"`)
	contains(t, "algorithms", string(body), "ES256")
}

// testPoliciesAreTypeChecked creates the first admission policy, which is what
// its controller waits for.
func testPoliciesAreTypeChecked(t *testing.T, p *plane) {
	policies := p.client.AdmissionregistrationV1().ValidatingAdmissionPolicies()
	_, err := policies.Create(t.Context(), &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "wrong"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{
				ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
					RuleWithOperations: admissionregistrationv1.RuleWithOperations{
						Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
						Rule: admissionregistrationv1.Rule{
							APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"},
						},
					},
				}},
			},
			Validations: []admissionregistrationv1.Validation{{Expression: "object.spec.replicas > '1'"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "type check of a policy", func(ctx context.Context) string {
		policy, err := policies.Get(ctx, "wrong", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if policy.Status.TypeChecking == nil || len(policy.Status.TypeChecking.ExpressionWarnings) != 1 {
			return fmt.Sprintf("got %v, want one warning", policy.Status.TypeChecking)
		}
		return ""
	})
}

func testAdmissionRunsLast(t *testing.T, p *plane, steps *recorder) {
	ns := namespace(t, p, "admission")
	url := newLabelWebhook(t, p.bundle)
	fail, none := admissionregistrationv1.Fail, admissionregistrationv1.SideEffectClassNone
	_, err := p.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(),
		&admissionregistrationv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "label"},
			Webhooks: []admissionregistrationv1.MutatingWebhook{{
				Name:                    "label.example.com",
				ClientConfig:            admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: p.bundle.CA()},
				FailurePolicy:           &fail,
				SideEffects:             &none,
				AdmissionReviewVersions: []string{"v1"},
				NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: ns}},
				Rules: []admissionregistrationv1.RuleWithOperations{{
					Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
					Rule: admissionregistrationv1.Rule{
						APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"},
					},
				}},
			}},
		}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tries := 0
	eventually(t, "webhook in force", func(ctx context.Context) string {
		tries++
		name := fmt.Sprintf("try-%d", tries)
		created, err := p.client.CoreV1().Pods(ns).Create(ctx, pod(name), metav1.CreateOptions{})
		if err != nil {
			return err.Error()
		}
		if created.Labels["webhook"] != "was-here" {
			return "the webhook has not been called"
		}
		if saw := steps.saw(name); saw == nil || saw.labels["webhook"] != "was-here" {
			t.Errorf("our step ran before the webhook: it saw %v", saw)
		}
		return ""
	})
	_, err = p.client.CoreV1().Pods(ns).Create(t.Context(), pod("refused"), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "the host would not take it") {
		t.Errorf("a pod that our step refuses: got %v, want its reason", err)
	}
}

func testLogsReachTheKubelet(t *testing.T, p *plane, kubelet *fakeKubelet) {
	ns := namespace(t, p, "logs")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker"}}
	if _, err := p.client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	status := `{"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":10250}}}}`
	if _, err := p.client.CoreV1().Nodes().Patch(t.Context(), "worker", types.MergePatchType, []byte(status),
		metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	bound := pod("talker")
	bound.Spec.NodeName = "worker"
	if _, err := p.client.CoreV1().Pods(ns).Create(t.Context(), bound, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	body, err := p.client.CoreV1().Pods(ns).GetLogs("talker", &corev1.PodLogOptions{}).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := "/containerLogs/logs/talker/main"; string(body) != want {
		t.Errorf("logs: got %q, want what the kubelet answers, %q", body, want)
	}
	if got, want := kubelet.dialled(), "192.0.2.1:10250"; got != want {
		t.Errorf("dialled %s, want %s", got, want)
	}
}
