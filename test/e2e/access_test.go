//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	exportNamespace = "access-tools"
	exportPort      = 30043 // The host gives such low ones to nobody who does not ask for them.
	exportHost      = "api.access.example"
)

// testAccess lets others in. Clients outside come through an Ingress, which Traefik serves. Tools of another namespace have
// kubeconfigs that lead to a port of the node. Each write is in the audit log.
func testAccess(t *testing.T) {
	const name, namespace = "access", "tenant-access"
	node := nodeAddress(t)
	server := "https://" + net.JoinHostPort(node, strconv.Itoa(exportPort))
	tools := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: exportNamespace}}
	if _, err := hostClient.CoreV1().Namespaces().Create(t.Context(), tools, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = newCommand("kubectl", "--kubeconfig", hostKubeconfig, "delete", "namespace", exportNamespace, "--wait").Run()
	})
	controller := startPassingController(t)
	tn := install(
		t, name, namespace,
		"controlPlane.statefulSet.persistence.volumeClaim.enabled=false",
		"controlPlane.service.spec.type=NodePort", fmt.Sprintf("controlPlane.service.httpsNodePort=%d", exportPort),
		"controlPlane.ingress.enabled=true", "controlPlane.ingress.host="+exportHost, "controlPlane.ingress.spec.ingressClassName=e2e-access",
		"exportKubeConfig.additionalSecrets[0].name=ci", "exportKubeConfig.additionalSecrets[0].namespace="+exportNamespace,
		"exportKubeConfig.additionalSecrets[0].server="+server, "exportKubeConfig.additionalSecrets[0].serviceAccount.name=deployer",
		"exportKubeConfig.additionalSecrets[0].serviceAccount.clusterRole=edit",
		"integrations.argoCD.enabled=true", "integrations.argoCD.namespace="+exportNamespace,
		"controlPlane.advanced.audit.enabled=true",
		"controlPlane.advanced.audit.policy.rules[0].level=Metadata", "controlPlane.advanced.audit.policy.rules[0].verbs[0]=create",
	)
	t.Run("kubeconfig", func(t *testing.T) { testExportedKubeconfig(t, server) })
	t.Run("ingress", func(t *testing.T) { testIngressOfAPI(t, tn, controller) })
	t.Run("argocd", func(t *testing.T) { testArgoCD(t, server, namespace, name) })
	t.Run("audit", func(t *testing.T) { testAuditLog(t, tn) })
}

// nodeAddress returns the internal address of a node.
func nodeAddress(t *testing.T) string {
	t.Helper()
	nodes, err := hostClient.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes.Items {
		for _, address := range node.Status.Addresses {
			if address.Type == corev1.NodeInternalIP {
				return address.Address
			}
		}
	}
	t.Fatal("no node has an address")
	return ""
}

// testExportedKubeconfig logs in as the service account of the exported kubeconfig, at the port of the node. It
// has the permissions of the ClusterRole edit, and no others.
func testExportedKubeconfig(t *testing.T, server string) {
	eventually(t, "the kubeconfig of Secret ci", func(ctx context.Context) error {
		secret, err := hostClient.CoreV1().Secrets(exportNamespace).Get(ctx, "ci", metav1.GetOptions{})
		if err != nil {
			return err
		}
		config, err := clientcmd.RESTConfigFromKubeConfig(secret.Data["config"])
		if err != nil {
			return err
		}
		if config.Host != server || config.BearerToken == "" || len(config.CertData) > 0 {
			return fmt.Errorf("it leads to %s, and its token has %d bytes", config.Host, len(config.BearerToken))
		}
		client := kubernetes.NewForConfigOrDie(config)
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "exported-"}}
		if _, err := client.CoreV1().ConfigMaps("default").Create(ctx, object, metav1.CreateOptions{}); err != nil {
			return err
		}
		if _, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); err == nil {
			t.Error("the service account lists nodes, which edit does not allow")
		}
		return nil
	})
}

// testArgoCD logs in as Argo CD does, which uses the Service in the host cluster. Only pods resolve that name, so the
// test goes to the port of the node under it.
func testArgoCD(t *testing.T, server, namespace, name string) {
	secretName, inHost := "sublet."+namespace+"."+name, name+"."+namespace+".svc"
	eventually(t, "the Secret of Argo CD", func(ctx context.Context) error {
		secret, err := hostClient.CoreV1().Secrets(exportNamespace).Get(ctx, secretName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		var login struct {
			BearerToken     string `json:"bearerToken"`
			TLSClientConfig struct {
				CAData string `json:"caData"`
			} `json:"tlsClientConfig"`
		}
		if err := json.Unmarshal(secret.Data["config"], &login); err != nil {
			return err
		}
		authority, err := base64.StdEncoding.DecodeString(login.TLSClientConfig.CAData)
		if err != nil {
			return err
		}
		if got := string(secret.Data["server"]); got != "https://"+inHost {
			return fmt.Errorf("it leads to %q, want %s", got, inHost)
		}
		client := kubernetes.NewForConfigOrDie(&rest.Config{
			Host: server, BearerToken: login.BearerToken, TLSClientConfig: rest.TLSClientConfig{CAData: authority, ServerName: inHost},
		})
		_, err = client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		return err
	})
}

// testAuditLog creates an object and finds the request in the log of the control plane.
func testAuditLog(t *testing.T, tn *tenant) {
	const object = "recorded"
	if _, err := tn.virtual.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: object},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the line of the audit log", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		stream, err := hostClient.CoreV1().Pods(tn.namespace).GetLogs(tn.release+"-0", &corev1.PodLogOptions{}).Stream(ctx)
		if err != nil {
			return err
		}
		defer stream.Close()
		lines := bufio.NewScanner(stream)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			event := struct {
				Kind      string `json:"kind"`
				Verb      string `json:"verb"`
				Level     string `json:"level"`
				ObjectRef struct {
					Name string `json:"name"`
				} `json:"objectRef"`
				User struct {
					Username string `json:"username"`
				} `json:"user"`
			}{}
			if !strings.HasPrefix(lines.Text(), "{") || json.Unmarshal(lines.Bytes(), &event) != nil || event.ObjectRef.Name != object {
				continue
			}
			if event.Kind != "Event" || event.Verb != "create" || event.Level != "Metadata" || event.User.Username == "" {
				t.Errorf("the line is %s", lines.Text())
			}
			return nil
		}
		return errors.Join(errors.New("no line has it"), lines.Err())
	})
}
