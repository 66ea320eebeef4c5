package cli_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/cli"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/test/certificates"
	"github.com/sublet-dev/sublet/test/goroutines"
)

// runVariable is set for a process that is the command line itself, with the arguments of that process.
const runVariable = "SUBLET_TEST_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(runVariable) != "" {
		os.Exit(cli.Run())
	}
	goroutines.Verify(m)
}

// fakeHost is an API server that knows the virtual clusters of a host, and no more.
type fakeHost struct {
	*httptest.Server
	clusters []release.Release
	// answer overrides the answer for a path. It returns false to leave it to the host.
	answer func(w http.ResponseWriter, r *http.Request) bool
}

// newFakeHost starts a host with virtual clusters.
func newFakeHost(t *testing.T, answer func(http.ResponseWriter, *http.Request) bool, clusters ...release.Release) *fakeHost {
	t.Helper()
	h := &fakeHost{clusters: clusters, answer: answer}
	h.Server = httptest.NewTLSServer(h)
	t.Cleanup(h.Close)
	return h
}

// newExpiredHost starts a host whose certificate is not valid any more.
func newExpiredHost(t *testing.T) *fakeHost {
	t.Helper()
	pair := certificates.New(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "host"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true,
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC),
	}, nil)
	h := &fakeHost{}
	h.Server = httptest.NewUnstartedServer(h)
	h.TLS = &tls.Config{Certificates: []tls.Certificate{pair.TLS()}, MinVersion: tls.VersionTLS12}
	h.StartTLS()
	t.Cleanup(h.Close)
	return h
}

// ServeHTTP implements http.Handler.
func (h *fakeHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.answer != nil && h.answer(w, r) {
		return
	}
	namespace := ""
	if _, after, ok := strings.Cut(r.URL.Path, "/namespaces/"); ok {
		namespace, _, _ = strings.Cut(after, "/")
	}
	instance := ""
	if _, after, ok := strings.Cut(r.URL.Query().Get("labelSelector"), "instance="); ok {
		instance = after
	}
	statefulSets, anchors, pods := &appsv1.StatefulSetList{}, &corev1.ConfigMapList{}, &corev1.PodList{}
	for _, c := range h.clusters {
		if namespace != "" && c.Namespace != namespace || instance != "" && c.Name != instance {
			continue
		}
		statefulSets.Items = append(statefulSets.Items, workload(c))
		if c.Name == "split" && strings.HasSuffix(r.URL.Path, "/"+c.Controllers()) {
			controllers := workload(c)
			controllers.Name, controllers.Labels["app.kubernetes.io/component"] = c.Controllers(), "controllers"
			write(w, http.StatusOK, &controllers)
			return
		}
		anchor := corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: c.Anchor(), Namespace: c.Namespace, Annotations: map[string]string{labels.StoreLocation: "etcd.embedded"}}}
		anchors.Items = append(anchors.Items, anchor)
		pods.Items = append(pods.Items, tenantPod(c, "a"), tenantPod(c, "b"))
	}
	parts := strings.Split(r.URL.Path, "/")
	if strings.HasSuffix(r.URL.Path, "/log") {
		_, _ = fmt.Fprintf(w, "a line of %s\n", parts[len(parts)-2])
		return
	}
	for _, c := range h.clusters {
		if r.URL.Path == "/api/v1/namespaces/"+c.Namespace+"/pods/"+c.Pod(0) {
			pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: c.Pod(0), Namespace: c.Namespace}, Spec: corev1.PodSpec{NodeName: "node-a"}}
			pod.Status.Phase = corev1.PodRunning
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			write(w, http.StatusOK, &pod)
			return
		}
	}
	switch resourceName := parts[len(parts)-1]; resourceName {
	case "namespaces":
		list := &corev1.NamespaceList{}
		for _, c := range h.clusters {
			list.Items = append(list.Items, corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.Namespace}})
		}
		write(w, http.StatusOK, list)
	case "secrets":
		write(w, http.StatusOK, &corev1.SecretList{})
	case "version":
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"major":"1","minor":"36","gitVersion":"v1.36.0"}`)
	case "api":
		write(w, http.StatusOK, &metav1.APIVersions{Versions: []string{"v1"}})
	case "apis":
		write(w, http.StatusOK, &metav1.APIGroupList{})
	case "statefulsets":
		statefulSets.ResourceVersion = "1"
		write(w, http.StatusOK, statefulSets)
	case "configmaps":
		write(w, http.StatusOK, anchors)
	case "pods":
		write(w, http.StatusOK, pods)
	case "resourcequotas":
		quota := corev1.ResourceQuota{}
		quota.Status.Hard = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("10")}
		quota.Status.Used = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("3")}
		write(w, http.StatusOK, &corev1.ResourceQuotaList{Items: []corev1.ResourceQuota{quota}})
	case "events":
		newEvent := func(name string) corev1.Event {
			return corev1.Event{InvolvedObject: corev1.ObjectReference{Name: name}, Reason: "Unhealthy", Message: "probe of " + name + " failed"}
		}
		write(w, http.StatusOK, &corev1.EventList{Items: []corev1.Event{newEvent("shop-0"), newEvent("other")}})
	default:
		for i := range statefulSets.Items {
			if statefulSets.Items[i].Name == resourceName && parts[len(parts)-2] == "statefulsets" {
				write(w, http.StatusOK, &statefulSets.Items[i])
				return
			}
		}
		writeError(w, http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("%s %q not found", parts[len(parts)-2], resourceName))
	}
}

// workload returns the StatefulSet of a release that is ready.
func workload(c release.Release) appsv1.StatefulSet {
	replicas := int32(1)
	set := appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: c.StatefulSet(), Namespace: c.Namespace, Labels: c.ControlPlaneSelector()}}
	set.Labels["app.kubernetes.io/version"] = "0.1.0"
	if c.Name == "fleet" {
		set.Labels["helm.toolkit.fluxcd.io/name"], set.Labels["helm.toolkit.fluxcd.io/namespace"] = c.Name, "flux-system"
	}
	set.Spec.Replicas = &replicas
	set.Status.ReadyReplicas, set.Status.UpdatedReplicas = 1, 1
	return set
}

// tenantPod returns a host pod of a tenant.
func tenantPod(c release.Release, node string) corev1.Pod {
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: c.Name + node, Namespace: c.Namespace, Labels: map[string]string{labels.Release: c.Name}}}
	pod.Spec.NodeName = node
	pod.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
	}}}}
	return pod
}

// write answers with an object. Clients of built-in kinds read JSON too.
func write(w http.ResponseWriter, code int, object runtime.Object) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(object)
}

// writeError answers with an error.
func writeError(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	write(w, code, &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
	})
}

// kubeconfigOf writes a kubeconfig with one context for each host. The first name is current.
func kubeconfigOf(t *testing.T, current string, hosts map[string]*fakeHost) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.CurrentContext = current
	for name, h := range hosts {
		cluster := clientcmdapi.NewCluster()
		cluster.Server, cluster.InsecureSkipTLSVerify = h.URL, name != "strict" && name != "old"
		if name == "old" {
			cluster.CertificateAuthorityData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
		}
		config.Clusters[name], config.AuthInfos[name] = cluster, &clientcmdapi.AuthInfo{Token: "t"}
		config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	}
	file := filepath.Join(t.TempDir(), "config")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// runSublet runs one command and returns what it printed, and its exit code.
func runSublet(t *testing.T, file string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	flags := genericclioptions.NewConfigFlags(true)
	cache := filepath.Join(os.TempDir(), "sublet-test-cache")
	flags.CacheDir = &cache
	env := &host.Env{Flags: flags, In: strings.NewReader(""), Out: &out, Err: &errOut, Version: "v0.0.0"}
	code = cli.Execute(t.Context(), env, "sublet", append([]string{"--kubeconfig=" + file}, args...))
	return out.String(), errOut.String(), code
}
