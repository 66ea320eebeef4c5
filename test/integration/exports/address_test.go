package exports

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/retry"

	"github.com/sublet-dev/sublet/hostlab/sim"
)

// TestAddress gives the Service of the virtual API two load balancers, one after the other. Each time, the exported
// kubeconfig leads there, and the serving certificate has the address.
func TestAddress(t *testing.T) {
	t.Parallel()
	host, err := sim.Start(t.Context(), sim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Stop)
	virtual := startRelease(t, host, map[string]any{
		"controlPlane": map[string]any{"service": map[string]any{"spec": map[string]any{"type": "LoadBalancer"}}},
	})
	listens, err := url.Parse(virtual.Host)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []corev1.LoadBalancerIngress{{IP: "192.0.2.7"}, {Hostname: "lb.example.com"}} {
		setLoadBalancer(t, host.Client(), address)
		want := "https://" + address.IP + address.Hostname
		eventually(t, "the kubeconfig for "+want, func(ctx context.Context) error {
			secret, err := host.Client().CoreV1().Secrets("tenant-shop").Get(ctx, "shop-kubeconfig", metav1.GetOptions{})
			if err != nil {
				return err
			}
			config, err := clientcmd.RESTConfigFromKubeConfig(secret.Data["config"])
			if err != nil {
				return err
			}
			if config.Host != want {
				return fmt.Errorf("it leads to %s", config.Host)
			}
			config.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, listens.Host)
			}
			_, err = kubernetes.NewForConfigOrDie(config).CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
			return err
		})
	}
}

// setLoadBalancer writes the status of the Service, as the controller of the load balancers of a host does.
func setLoadBalancer(t *testing.T, client kubernetes.Interface, address corev1.LoadBalancerIngress) {
	t.Helper()
	services := client.CoreV1().Services("tenant-shop")
	if err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		service, err := services.Get(t.Context(), "shop", metav1.GetOptions{})
		if err != nil {
			return err
		}
		service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{address}
		_, err = services.UpdateStatus(t.Context(), service, metav1.UpdateOptions{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
