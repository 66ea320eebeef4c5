package installer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/hostlab/sim"
	"github.com/sublet-dev/sublet/pkg/cli"
	"github.com/sublet-dev/sublet/pkg/cli/host"
)

const (
	namespace = "tenant-shop"
	user      = "jane"
	page      = "../../../docs/how-to/few-permissions.md"
)

func TestMain(m *testing.M) {
	if err := sim.LogTo(io.Discard); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// TestAdminOfOneNamespace follows docs/how-to/few-permissions.md. Without its settings, and without its ClusterRole,
// the command line prints what to do. With both, a release is installed, upgraded and deleted.
func TestAdminOfOneNamespace(t *testing.T) {
	t.Parallel()
	h, err := sim.Start(t.Context(), sim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Stop)
	blocks := yamlBlocks(t)
	role := &rbacv1.ClusterRole{}
	if err := yaml.UnmarshalStrict(blocks[0], role); err != nil {
		t.Fatal(err)
	}
	values := filepath.Join(t.TempDir(), "values.yaml")
	write(t, values, blocks[1])
	kubeconfig := newFront(t, h)
	client := h.Client()
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// What the controller of the host puts into the ClusterRole admin.
	for _, part := range []string{"system:aggregate-to-admin", "system:aggregate-to-edit", "system:aggregate-to-view"} {
		bindRole(t, client, part)
	}
	awaitPermission(t, client, "create", "rbac.authorization.k8s.io", "roles", "")
	awaitPermission(t, client, "create", "apps", "statefulsets", "")
	awaitPermission(t, client, "list", "", "resourcequotas", "")

	wantFailure(t, kubeconfig, "--set sync.fromHost.nodes.enabled=false", "create", "shop", "--wait=false")
	wantFailure(t, kubeconfig, "--set sync.fromHost.nodes.enabled=false", "check", "shop")
	wantFailure(t, kubeconfig, "sublet-installer", "check", "shop", "-f", values)
	wantFailure(t, kubeconfig, "sublet-installer", "create", "shop", "--wait=false", "-f", values)
	if _, err := client.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bindRole(t, client, role.Name)
	for _, rule := range role.Rules {
		for _, resource := range rule.Resources {
			main, sub, _ := strings.Cut(resource, "/")
			awaitPermission(t, client, rule.Verbs[0], rule.APIGroups[0], main, sub)
		}
	}
	for _, args := range [][]string{
		{"check", "other", "-f", values},
		{"create", "shop", "--wait=false", "--upgrade", "-f", values},
		{"upgrade", "shop", "--wait=false", "--set", "logging.verbosity=1"},
		{"delete", "shop", "--yes", "--wait=false"},
		{"create", "other", "--wait=false", "-f", values},
	} {
		if code, out := run(t, kubeconfig, args...); code != 0 {
			t.Fatalf("%v ends with %d:\n%s", args, code, out)
		}
	}
	wantMinimal(t, client, role)
}

// newFront starts a server in front of the host, and returns the file of its kubeconfig. A host that is built by a test has
// no version, and the command line wants one. Requests are those of an administrator who impersonates the user.
func newFront(t *testing.T, h *sim.Host) string {
	t.Helper()
	transport, err := rest.TransportFor(h.Config())
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(h.Config().Host)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	front := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/version" {
			_, _ = io.WriteString(w, `{"major":"1","minor":"37","gitVersion":"v1.37.0"}`)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	config := clientcmdapi.NewConfig()
	config.Clusters["host"] = &clientcmdapi.Cluster{Server: front.URL, InsecureSkipTLSVerify: true}
	config.Contexts["host"] = &clientcmdapi.Context{Cluster: "host", AuthInfo: "nobody"}
	config.AuthInfos["nobody"], config.CurrentContext = &clientcmdapi.AuthInfo{}, "host"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantMinimal checks that admins of a namespace lack each permission of the ClusterRole.
func wantMinimal(t *testing.T, client kubernetes.Interface, role *rbacv1.ClusterRole) {
	t.Helper()
	for _, part := range []string{"admin", "edit", "view"} {
		known, err := client.RbacV1().ClusterRoles().Get(t.Context(), "system:aggregate-to-"+part, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, rule := range role.Rules {
			for _, other := range known.Rules {
				for _, verb := range rule.Verbs {
					if has(other.APIGroups, rule.APIGroups[0]) && has(other.Resources, rule.Resources[0]) && has(other.Verbs, verb) {
						t.Errorf("admins have %s %s anyway", verb, rule.Resources[0])
					}
				}
			}
		}
	}
}

func has(all []string, one string) bool {
	for _, item := range all {
		if item == one || item == "*" {
			return true
		}
	}
	return false
}

// yamlBlocks returns the blocks of YAML of the page: the ClusterRole and the values.
func yamlBlocks(t *testing.T) [][]byte {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var blocks [][]byte
	for _, found := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1) {
		blocks = append(blocks, found[1])
	}
	if len(blocks) != 2 {
		t.Fatalf("%s has %d blocks of YAML, want 2", page, len(blocks))
	}
	return blocks
}

// bindRole binds a ClusterRole to the user, in the namespace.
func bindRole(t *testing.T, client kubernetes.Interface, role string) {
	t.Helper()
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "jane-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
	if _, err := client.RbacV1().RoleBindings(namespace).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// awaitPermission waits until the host has noticed that the user has a permission.
func awaitPermission(t *testing.T, client kubernetes.Interface, verb, group, resource, subresource string) {
	t.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: &authorizationv1.ResourceAttributes{
		Namespace: namespace, Verb: verb, Group: group, Resource: resource, Subresource: subresource,
	}}}
	if err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 3*time.Minute, true, func(ctx context.Context) (bool, error) {
		answer, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		return err == nil && answer.Status.Allowed, nil // A review may fail.
	}); err != nil {
		t.Fatalf("%s may not %s %s/%s: %v", user, verb, resource, subresource, err)
	}
}

// wantFailure runs a command as the user. It has to fail, with a text in its output.
func wantFailure(t *testing.T, kubeconfig, want string, args ...string) {
	t.Helper()
	if code, out := run(t, kubeconfig, args...); code == 0 || !strings.Contains(out, want) {
		t.Errorf("%v ends with %d, and does not say %q:\n%s", args, code, want, out)
	}
}

// run runs a command as the user. It returns its exit code and its output.
func run(t *testing.T, kubeconfig string, args ...string) (code int, text string) {
	t.Helper()
	var out bytes.Buffer
	env := &host.Env{Flags: genericclioptions.NewConfigFlags(true), In: strings.NewReader(""), Out: &out, Err: &out, Version: "v0.0.0"}
	args = append(args, "--kubeconfig", kubeconfig, "--as", user, "-n", namespace)
	code = cli.Execute(t.Context(), env, "sublet", args)
	return code, fmt.Sprintf("$ sublet %s\n%s", strings.Join(args, " "), out.String())
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
