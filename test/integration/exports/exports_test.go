package exports

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sublet-dev/sublet/hostlab/sim"
	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
)

const (
	other   = "build"
	argo    = "sublet.tenant-shop.shop"
	account = "system:serviceaccount:tenant-shop:shop"
)

// values returns settings that export two Secrets into another namespace, and create an object in the
// virtual cluster.
func values() map[string]any {
	return map[string]any{
		"exportKubeConfig": map[string]any{"additionalSecrets": []any{map[string]any{
			"name": "ci", "namespace": other, "context": "shop",
			"serviceAccount": map[string]any{"name": "deployer", "clusterRole": "cluster-admin"},
		}}},
		"integrations": map[string]any{"argoCD": map[string]any{"enabled": true, "namespace": other}},
		"experimental": map[string]any{"deploy": map[string]any{"vcluster": map[string]any{
			"manifests":         "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: initial}\n",
			"manifestsTemplate": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"{{ .Release.Namespace }}\"}\n",
			"helm": []any{map[string]any{
				"bundle": bundle(), "release": map[string]any{"name": "web", "namespace": "web"}, "values": "fast: true",
			}},
		}}},
		"controlPlane": map[string]any{"advanced": map[string]any{"featureGates": map[string]any{"StatefulSetRecreateStrategy": true}}},
	}
}

// bundle returns a chart with one ConfigMap, in base64.
func bundle() string {
	var archive bytes.Buffer
	compressed := gzip.NewWriter(&archive)
	files := tar.NewWriter(compressed)
	for _, file := range []struct{ name, text string }{
		{"web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n"},
		{"web/templates/settings.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {fast: \"{{ .Values.fast }}\"}\n"},
	} {
		header := &tar.Header{Name: file.name, Mode: 0o644, Size: int64(len(file.text))}
		if err := errors.Join(files.WriteHeader(header), writeText(files, file.text)); err != nil {
			panic(err)
		}
	}
	if err := errors.Join(files.Close(), compressed.Close()); err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(archive.Bytes())
}

func writeText(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

// checkDeployed waits for the objects of the manifests, the template and the chart, and checks that the feature gate
// of the settings is on.
func checkDeployed(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	eventually(t, "the manifests and charts of the settings", func(ctx context.Context) error {
		for _, name := range []string{"initial", "tenant-shop"} {
			if _, err := client.CoreV1().ConfigMaps("default").Get(ctx, name, metav1.GetOptions{}); err != nil {
				return err
			}
		}
		settings, err := client.CoreV1().ConfigMaps("web").Get(ctx, "settings", metav1.GetOptions{})
		if err == nil && (settings.Data["fast"] != "true" || settings.Annotations["meta.helm.sh/release-name"] != "web") {
			t.Fatalf("the ConfigMap of the chart is %v", settings)
		}
		return err
	})
	labels := map[string]string{"app": "db"}
	recreate := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.StatefulSetSpec{
		Replicas: new(int32), Selector: &metav1.LabelSelector{MatchLabels: labels}, UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: "Recreate"},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "db", Image: "db"}}}},
	}}
	if _, err := client.AppsV1().StatefulSets("default").Create(t.Context(), recreate, metav1.CreateOptions{}); err != nil {
		t.Errorf("with the feature gate StatefulSetRecreateStrategy: %v", err)
	}
}

// startRelease installs the chart with settings and runs its server. It returns how to reach the virtual API.
func startRelease(t *testing.T, host *sim.Host, values map[string]any) *rest.Config {
	t.Helper()
	root := filepath.Join("..", "..", "..")
	release, err := tenant.Install(t.Context(), host, tenant.Options{
		Chart: filepath.Join(root, "chart"), Server: filepath.Join(root, "bin", "sublet-server"), Release: "shop", Namespace: "tenant-shop",
		Values: values,
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := release.Run(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	virtual, err := server.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return virtual
}

// TestExports reads the Secrets in another namespace, changes one, and checks that the control plane may
// touch no other there.
func TestExports(t *testing.T) {
	t.Parallel()
	host, err := sim.Start(t.Context(), sim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Stop)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: other}}
	if _, err := host.Client().CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	virtual := startRelease(t, host, values())
	checkDeployed(t, kubernetes.NewForConfigOrDie(virtual))
	secrets := host.Client().CoreV1().Secrets(other)
	accepts := func(name string, read func(*corev1.Secret) (string, error)) {
		t.Helper()
		eventually(t, "Secret "+name, func(ctx context.Context) error {
			secret, err := secrets.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			token, err := read(secret)
			if err != nil {
				return err
			}
			return tryToken(ctx, virtual, token)
		})
	}
	accepts("ci", readKubeconfig)
	accepts(argo, readArgoCD)
	if _, err := secrets.Patch(t.Context(), argo, types.MergePatchType, []byte(`{"data":null}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	accepts(argo, readArgoCD)
	checkPermissions(t, host.Client())
}

// checkPermissions checks what the control plane may do with Secrets of another namespace.
func checkPermissions(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	for _, c := range []struct {
		verb, name string
		allowed    bool
	}{
		{"get", "ci", true},
		{"watch", "ci", true},
		{"update", argo, true},
		{"get", "another", false},
		{"update", "another", false},
		{"list", "", false},
		{"watch", "", false},
		{"create", "", false},
		{"delete", "ci", false},
		{"patch", "ci", false},
	} {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User:               account,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: other, Verb: c.verb, Resource: "secrets", Name: c.name},
		}}
		answer, err := client.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if answer.Status.Allowed != c.allowed {
			t.Errorf("%s of Secret %q in %s is allowed: %t", c.verb, c.name, other, answer.Status.Allowed)
		}
	}
}

// tryToken uses the token as an administrator of the virtual cluster does.
func tryToken(ctx context.Context, virtual *rest.Config, token string) error {
	config := rest.AnonymousClientConfig(virtual)
	config.BearerToken = token
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = client.CoreV1().Secrets("kube-system").List(ctx, metav1.ListOptions{})
	return err
}

// readKubeconfig returns the token of a kubeconfig in a Secret.
func readKubeconfig(secret *corev1.Secret) (string, error) {
	config, err := clientcmd.Load(secret.Data["config"])
	if err != nil {
		return "", err
	}
	user, cluster := config.AuthInfos["shop"], config.Clusters["shop"]
	if config.CurrentContext != "shop" || user == nil || cluster == nil || len(cluster.CertificateAuthorityData) == 0 {
		return "", errors.New("the kubeconfig is not complete")
	}
	return user.Token, nil
}

// readArgoCD returns the token of a Secret of Argo CD.
func readArgoCD(secret *corev1.Secret) (string, error) {
	var config struct {
		BearerToken string `json:"bearerToken"`
	}
	if err := json.Unmarshal(secret.Data["config"], &config); err != nil {
		return "", err
	}
	if server := string(secret.Data["server"]); server != "https://shop.tenant-shop.svc" {
		return "", fmt.Errorf("the server is %q", server)
	}
	return config.BearerToken, nil
}

// eventually waits until check finds nothing wrong.
func eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 4*time.Minute, true, func(ctx context.Context) (bool, error) {
		last = check(ctx)
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: %v", what, last)
	}
}
