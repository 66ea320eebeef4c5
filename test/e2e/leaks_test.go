//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// spyManifest is a pod that the standard restricted allows.
const spyManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      securityContext: {runAsNonRoot: true, runAsUser: 65534, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: web
        image: "@IMAGE@"
        imagePullPolicy: IfNotPresent
        command: [sleep, "100000"]
        securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
`

// TestLeaks reads what a tenant can learn of the host, and what a stranger can learn of the
// tenant.
func TestLeaks(t *testing.T) {
	t.Parallel()
	testLeaks(t, install(t, "leaks", "tenant-leaks"))
}

// testLeaks runs all tests of leaks on one tenant.
func testLeaks(t *testing.T, tn *tenant) {
	t.Helper()
	tn.apply(spyManifest)
	tn.rollout("deployment/web")
	for name, test := range map[string]func(*testing.T, *tenant){
		"Anonymous": testAnonymous, "HostToken": testHostToken, "DNSNames": testDNSNames, "DNSStranger": testDNSStranger,
		"NodeIdentity": testNodeIdentity, "HostWords": testHostWords, "ForgedStatus": testForgedStatus, "Metrics": testTenantMetrics,
	} {
		t.Run(name, func(t *testing.T) { test(t, tn.in(t)) })
	}
}

// testAnonymous asks for everything without credentials, and with headers that only a front
// proxy may set.
func testAnonymous(t *testing.T, tn *tenant) {
	anonymous := rest.AnonymousClientConfig(tn.virtualConfig)
	client, err := rest.HTTPClientFor(anonymous)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/api", "/apis", "/api/v1/secrets", "/metrics", "/openapi/v2", "/debug/pprof/heap", "/debug/flags/v", "/logs/", "/configz",
		"/statusz", "/flagz", "/syncz", "/syncz/%2e%2e/api/v1/secrets", "//api/v1/secrets", "/syncz;/api/v1/secrets",
		"/.well-known/openid-configuration", "/openid/v1/jwks",
	} {
		for _, headers := range []map[string]string{nil, {
			"X-Remote-User": "kubernetes-admin", "X-Remote-Group": "system:masters", "Impersonate-User": "system:admin", "Impersonate-Group": "system:masters",
		}} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, anonymous.Host+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for key, value := range headers {
				request.Header.Set(key, value)
			}
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				t.Errorf("%s with %d headers answers anybody", path, len(headers))
			}
		}
	}
}

// testHostToken shows tokens of the virtual cluster to the host.
func testHostToken(t *testing.T, tn *tenant) {
	for _, audience := range []string{"", "https://kubernetes.default.svc", "https://kubernetes.default.svc.cluster.local"} {
		request := &authenticationv1.TokenRequest{}
		if audience != "" {
			request.Spec.Audiences = []string{audience}
		}
		token, err := tn.virtual.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default", request, metav1.CreateOptions{})
		if err != nil {
			continue // The virtual API server does not sign for it.
		}
		config := rest.AnonymousClientConfig(hostConfig)
		config.BearerToken = token.Status.Token
		review, err := kubernetes.NewForConfigOrDie(config).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err == nil && review.Status.UserInfo.Username != "system:anonymous" {
			t.Errorf("the host knows a token for %q as %s", audience, review.Status.UserInfo.Username)
		}
	}
}

// lookup resolves a name, or the name of an address, in the tenant's pod.
func (tn *tenant) lookup(name string) string {
	out, _ := tn.command("exec", "deployment/web", "--", "nslookup", name).CombinedOutput()
	return string(out)
}

// resolves waits until a name, or the name of an address, is resolved in the tenant's pod.
func (tn *tenant) resolves(name, want string) {
	tn.t.Helper()
	eventually(tn.t, name+" is resolved", func(context.Context) error {
		if out := tn.lookup(name); !strings.Contains(out, want) {
			return fmt.Errorf("want %s: %s", want, out)
		}
		return nil
	})
}

// testDNSNames asks the virtual DNS for the names of the host's Services.
func testDNSNames(t *testing.T, tn *tenant) {
	own, err := tn.virtual.CoreV1().Services("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tn.resolves(own.Spec.ClusterIP, "kubernetes.default.svc")
	services, err := hostClient.CoreV1().Services(metav1.NamespaceAll).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range services.Items {
		if s.Namespace == tn.namespace || s.Spec.ClusterIP == "" || s.Spec.ClusterIP == corev1.ClusterIPNone {
			continue
		}
		if out := tn.lookup(s.Spec.ClusterIP); strings.Contains(out, s.Name+"."+s.Namespace) {
			t.Errorf("the tenant learns of Service %s/%s: %s", s.Namespace, s.Name, out)
		}
	}
}

// testDNSStranger asks the virtual DNS from a pod of somebody else on the host.
func testDNSStranger(t *testing.T, tn *tenant) {
	namespace := "sublet-e2e-stranger-" + tn.release
	tn.kubectl("create", "service", "clusterip", "secret-project", "--tcp=80:80")
	project, err := tn.virtual.CoreV1().Services("default").Get(t.Context(), "secret-project", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := hostClient.CoreV1().Services(tn.namespace).Get(t.Context(), tn.release+"-dns", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const name = "secret-project.default.svc.cluster.local."
	tn.resolves(name, project.Spec.ClusterIP)
	t.Cleanup(func() { _ = hostKubectl("delete", "namespace", namespace, "--wait=false").Run() })
	mustRun(t, hostKubectl("create", "namespace", namespace))
	eventually(t, "the service account", func(ctx context.Context) error {
		_, err := hostClient.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	mustRun(t, hostKubectl("-n", namespace, "run", "stranger", "--image", testImage, "--image-pull-policy=IfNotPresent", "--restart=Never",
		"--command", "--", "sh", "-c", "nslookup "+name+" "+server.Spec.ClusterIP+"; echo done"))
	var out string
	eventually(t, "the stranger has asked", func(context.Context) error {
		text, err := hostKubectl("-n", namespace, "logs", "stranger").CombinedOutput()
		if out = string(text); err != nil || !strings.Contains(out, "done") {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if strings.Contains(out, project.Spec.ClusterIP) {
		t.Errorf("another tenant resolves this one's Services: %s", out)
	}
}

// testNodeIdentity looks at what nodes show of the machines.
func testNodeIdentity(t *testing.T, tn *tenant) {
	nodes, err := tn.virtual.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) == 0 {
		t.Fatalf("no nodes: %v", err)
	}
	for _, node := range nodes.Items {
		info := node.Status.NodeInfo
		if info.MachineID+info.SystemUUID+info.BootID+node.Spec.ProviderID+node.Spec.PodCIDR != "" || len(node.Status.Images) > 0 {
			t.Errorf("node %s identifies its machine: %v %v", node.Name, info, node.Spec)
		}
		for key := range node.Annotations {
			if !strings.HasPrefix(key, "sublet.dev/") {
				t.Errorf("node %s shows the annotation %s of the host", node.Name, key)
			}
		}
	}
}

// hashedName is the end of the name of every copy on the host.
var hashedName = regexp.MustCompile(`-[a-z2-7]{26}\b`)

// testHostWords reads every text that a pod which cannot run gets.
func testHostWords(t *testing.T, tn *tenant) {
	tn.apply(strings.NewReplacer("IMG", `"@IMAGE@"`, "CONTEXT", "{allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}").Replace(`
apiVersion: v1
kind: Pod
metadata: {name: mounts}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, runAsUser: 65534, seccompProfile: {type: RuntimeDefault}}
  volumes: [{name: v, configMap: {name: missing}}]
  containers:
  - {name: main, image: IMG, imagePullPolicy: IfNotPresent, command: [sleep, "1000"], volumeMounts: [{name: v, mountPath: /v}], securityContext: CONTEXT}
---
apiVersion: v1
kind: Pod
metadata: {name: pulls}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, runAsUser: 65534, seccompProfile: {type: RuntimeDefault}}
  containers: [{name: main, image: "registry.invalid/none:1", imagePullPolicy: Always, securityContext: CONTEXT}]
`))
	eventually(t, "an event about the volume", func(ctx context.Context) error {
		events, err := tn.virtual.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "reason=FailedMount"})
		if err != nil || len(events.Items) == 0 {
			return fmt.Errorf("there is none: %w", err)
		}
		return nil
	})
	for _, what := range []string{"events", "pods"} {
		for line := range strings.Lines(tn.kubectl("get", what, "-A", "-o", "yaml")) {
			text := strings.ReplaceAll(line, tn.release, "")
			if strings.Contains(text, "system:serviceaccount:"+tn.namespace) || strings.Contains(text, `"`+tn.namespace+`"`) ||
				strings.Contains(text, tn.namespace+"/") || hashedName.MatchString(text) {
				t.Errorf("the tenant reads a name of the host in %s: %s", what, line)
			}
		}
	}
}

// testForgedStatus writes the status of a synced pod, which must be put right and never reach
// the host.
func testForgedStatus(t *testing.T, tn *tenant) {
	pods, err := tn.virtual.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("no pod: %v", err)
	}
	pod := pods.Items[0]
	forged := []byte(`{"status":{"podIP":"203.0.113.1","podIPs":[{"ip":"203.0.113.1"}],"hostIP":"203.0.113.2"}}`)
	if _, err := tn.virtual.CoreV1().Pods("default").Patch(t.Context(), pod.Name, types.MergePatchType, forged, metav1.PatchOptions{}, "status"); err != nil {
		t.Logf("the virtual API server refuses it: %v", err)
	}
	eventually(t, "the status is the host's again", func(ctx context.Context) error {
		now, err := tn.virtual.CoreV1().Pods("default").Get(ctx, pod.Name, metav1.GetOptions{})
		if err == nil && now.Status.PodIP != pod.Status.PodIP {
			return fmt.Errorf("it is %s", now.Status.PodIP)
		}
		return err
	})
	hosts, err := hostClient.CoreV1().Pods(tn.namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range hosts.Items {
		if host.Status.PodIP == "203.0.113.1" {
			t.Errorf("the host's pod %s has the forged address", host.Name)
		}
	}
}

// testTenantMetrics looks for addresses of the host in the metrics that a tenant reads.
func testTenantMetrics(t *testing.T, tn *tenant) {
	body := mustRun(t, newCommand("kubectl", "--kubeconfig", tn.kubeconfig, "get", "--raw", "/metrics"))
	if !strings.Contains(body, "apiserver_request_total") {
		t.Error("a tenant reads the metrics of the API server")
	}
	if strings.Contains(body, "rest_client_") || strings.Contains(body, tn.namespace) {
		t.Error("the metrics name the host")
	}
}
