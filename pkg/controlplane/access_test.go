package controlplane

import (
	"context"
	"fmt"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

func testPathsWithoutCredentials(t *testing.T, p *plane) {
	for path, want := range map[string]struct {
		code int
		body string
	}{
		"/syncz":                      {403, "forbidden"},
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
		requireContains(t, "GET "+path, body, want.body)
	}
}

// testPathsNeedARule asks for the paths of the server as a user that has authenticated. Only a rule
// opens them, and only the path that it names.
func testPathsNeedARule(t *testing.T, p *plane) {
	paths := []string{"/syncz", "/metrics"}
	user := kubernetes.NewForConfigOrDie(p.kubeconfig(t, "mallory", "developers")).CoreV1().RESTClient()
	for _, path := range append(paths, "/debug/pprof/heap", "/logs/") {
		if err := user.Get().AbsPath(path).Do(t.Context()).Error(); !apierrors.IsForbidden(err) {
			t.Errorf("GET %s as a user without a rule: got %v, want forbidden", path, err)
		}
	}
	roles := p.client.RbacV1()
	for _, path := range paths {
		meta := metav1.ObjectMeta{GenerateName: "reads-a-path-"}
		role, err := roles.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
			ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{path}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		binding, err := roles.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "developers"}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, path, func(ctx context.Context) string {
			if err := user.Get().AbsPath(path).Do(ctx).Error(); err != nil {
				return err.Error()
			}
			return ""
		})
		for _, other := range paths {
			if other == path {
				continue
			}
			if err := user.Get().AbsPath(other).Do(t.Context()).Error(); !apierrors.IsForbidden(err) {
				t.Errorf("GET %s with a rule for %s: got %v, want forbidden", other, path, err)
			}
		}
		if err := roles.ClusterRoleBindings().Delete(t.Context(), binding.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, path+" without its rule", func(ctx context.Context) string {
			if err := user.Get().AbsPath(path).Do(ctx).Error(); !apierrors.IsForbidden(err) {
				return fmt.Sprintf("got %v, want forbidden", err)
			}
			return ""
		})
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
	requireContains(t, "metrics", string(body), "apiserver_request_total")

	nobody := kubernetes.NewForConfigOrDie(p.kubeconfig(t, "nobody"))
	if _, err := nobody.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a user without rights lists nodes: got %v, want forbidden", err)
	}
}

// testTenantAdmins checks that the tenant is cluster-admin by a binding that can be deleted.
func testTenantAdmins(t *testing.T, p *plane) {
	tenant := kubernetes.NewForConfigOrDie(p.kubeconfig(t, "kubernetes-admin", pki.GroupTenantAdmins))
	for _, ask := range []*authorizationv1.SelfSubjectAccessReview{
		{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "*", Group: "*", Resource: "*"}}},
		{Spec: authorizationv1.SelfSubjectAccessReviewSpec{NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: "*", Path: "*"}}},
	} {
		review, err := tenant.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), ask, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !review.Status.Allowed {
			t.Errorf("the tenant may not do everything: %v", review)
		}
	}
	if err := p.client.RbacV1().ClusterRoleBindings().Delete(t.Context(), "sublet:tenant-admins", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "revocation", func(ctx context.Context) string {
		if _, err := tenant.CoreV1().Secrets("").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			return fmt.Sprintf("the tenant lists Secrets: %v, want forbidden", err)
		}
		return ""
	})
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
	acting := p.ClientConfig("admin", pki.GroupAdmins)
	acting.Impersonate.UserName = "nobody"
	if _, err := kubernetes.NewForConfigOrDie(acting).CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("an administrator who acts for a user without rights lists pods in memory: got %v, want forbidden", err)
	}
}

func testIssuer(t *testing.T, p *plane) {
	body, err := p.client.Discovery().RESTClient().Get().AbsPath("/.well-known/openid-configuration").Do(t.Context()).Raw()
	if err != nil {
		t.Fatal(err)
	}
	requireContains(t, "issuer", string(body), `"issuer":"https://kubernetes.default.svc.cluster.local"`)
	requireContains(t, "algorithms", string(body), "ES256")
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
