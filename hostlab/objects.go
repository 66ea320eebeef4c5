package hostlab

import (
	"bufio"
	"bytes"
	"context"
	_ "embed" // for the objects
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

//go:embed objects.yaml
var objectsText []byte

// objects returns what a local host holds from the start.
func objects() ([]*unstructured.Unstructured, error) {
	text := os.Expand(string(objectsText), func(key string) string {
		switch key {
		case "DNS_SERVICE_IP":
			return dnsServiceIP
		case "NODE_IP":
			return nodeIP
		case "METRICS_PORT":
			return metricsPort
		default:
			return "$" + key
		}
	})
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader([]byte(text))))
	var all []*unstructured.Unstructured
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(document, &object.Object); err != nil {
			return nil, fmt.Errorf("cannot read object %d: %w", len(all), err)
		}
		all = append(all, object)
	}
}

// apply writes the objects of a local host.
func (l *local) apply(ctx context.Context, config *rest.Config) error {
	all, err := objects()
	if err != nil {
		return err
	}
	c, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	options := metav1.ApplyOptions{FieldManager: "sublet-host", Force: true}
	for _, object := range all {
		err := poll(ctx, 20*time.Second, object.GetKind()+" "+object.GetName(), func(ctx context.Context) error {
			_, err := resource(c, object).Apply(ctx, object.GetName(), object, options)
			return err
		})
		if err != nil {
			return fmt.Errorf("cannot create: %w", err)
		}
	}
	return nil
}

// resource returns where an object belongs. The plurals of our few kinds are regular.
func resource(c dynamic.Interface, object *unstructured.Unstructured) dynamic.ResourceInterface {
	plural, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
	if namespace := object.GetNamespace(); namespace != "" {
		return c.Resource(plural).Namespace(namespace)
	}
	return c.Resource(plural)
}

// clients returns clients of the host's API server, as admin.
func (l *local) clients() (*rest.Config, kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", l.pki.kubeconfig("admin"))
	if err != nil {
		return nil, nil, err
	}
	config.QPS = -1
	config.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil } // the host is on this machine
	clientset, err := kubernetes.NewForConfig(config)
	return config, clientset, err
}

// checkAPI returns nil when the API server is ready.
func (l *local) checkAPI(ctx context.Context, c kubernetes.Interface) error {
	_, err := c.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
	if err != nil {
		return errors.Join(err, l.daemons.checkRunning("etcd"), l.daemons.checkRunning("kube-apiserver"))
	}
	return nil
}

// checkNode returns nil once a pod could be created in namespace default and run.
func (l *local) checkNode(ctx context.Context, c kubernetes.Interface) error {
	for _, name := range []string{"containerd", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "netpol", "volumes"} {
		if err := l.daemons.checkRunning(name); err != nil {
			return err
		}
	}
	node, err := c.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := checkNodeStatus(node); err != nil {
		return err
	}
	_, err = c.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
	return err
}

// checkNodeStatus returns nil if a node is ready and takes pods.
func checkNodeStatus(node *corev1.Node) error {
	for _, taint := range node.Spec.Taints {
		if taint.Effect != corev1.TaintEffectPreferNoSchedule {
			return fmt.Errorf("node %s is tainted: %s", node.Name, taint.Key)
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type != corev1.NodeReady {
			continue
		}
		if condition.Status == corev1.ConditionTrue {
			return nil
		}
		return fmt.Errorf("node %s is not ready: %s", node.Name, condition.Message)
	}
	return fmt.Errorf("node %s has not said yet that it is ready", node.Name)
}

// checkMetrics returns nil once the host serves the metrics API. Until then, whoever lists
// the host's APIs gets an error.
func (l *local) checkMetrics(ctx context.Context, c kubernetes.Interface) error {
	_, err := c.Discovery().RESTClient().Get().AbsPath("/apis/metrics.k8s.io/v1beta1").DoRaw(ctx)
	if err != nil {
		return errors.Join(err, l.daemons.checkRunning("metrics-server"))
	}
	return nil
}

// checkDNS returns nil once the API server's name resolves at the Service of the DNS.
func (l *local) checkDNS(ctx context.Context) error {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, net.JoinHostPort(dnsServiceIP, "53"))
	}}
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	found, err := resolver.LookupHost(ctx, "kubernetes.default.svc."+clusterDomain+".")
	if err != nil {
		return errors.Join(err, l.daemons.checkRunning("coredns"), l.daemons.checkRunning("kube-proxy"))
	}
	if len(found) != 1 || found[0] != apiServiceIP {
		return fmt.Errorf("the API server's name resolves to %v", found)
	}
	return nil
}
