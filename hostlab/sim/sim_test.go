package sim

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// eventually polls for something that the host does by itself.
func eventually(t *testing.T, what string, check func(context.Context) (bool, error)) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 2*time.Minute, true, check)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// TestHost uses one host for all its parts: a start costs a second of CPU.
func TestHost(t *testing.T) {
	t.Parallel()
	host, err := Start(t.Context(), Options{Nodes: 3, NodeGPUs: 8, NodeImages: 2, Heartbeat: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Stop()

	t.Run("nodes", func(t *testing.T) { testNodes(t, host) })
	t.Run("pod", func(t *testing.T) { testPod(t, host) })
	t.Run("kubeconfig", func(t *testing.T) { testKubeconfig(t, host) })
	t.Run("requests", func(t *testing.T) { testRequests(t, host) })
	t.Run("more nodes", func(t *testing.T) { testMoreNodes(t, host) })
	t.Run("stop", func(t *testing.T) { testStop(t, host) })
}

func testNodes(t *testing.T, host *Host) {
	nodes, err := host.Client().CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes.Items) != 3 {
		t.Fatalf("%d nodes, want 3", len(nodes.Items))
	}
	for _, node := range nodes.Items {
		gpus := node.Status.Allocatable["nvidia.com/gpu"]
		if len(node.Spec.Taints) != 0 || gpus.Cmp(resource.MustParse("8")) != 0 || len(node.Status.Images) != 2 {
			t.Errorf("node %s has taints %v, %s GPUs and %d images, want none, 8 and 2",
				node.Name, node.Spec.Taints, gpus.String(), len(node.Status.Images))
		}
	}
	before := nodes.Items[0]
	eventually(t, "no heartbeat", func(ctx context.Context) (bool, error) {
		after, err := host.Client().CoreV1().Nodes().Get(ctx, before.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		beat, was := after.Status.Conditions[0].LastHeartbeatTime, before.Status.Conditions[0].LastHeartbeatTime
		return beat.After(was.Time) && len(after.Status.Conditions) == len(before.Status.Conditions), nil
	})
}

func testPod(t *testing.T, host *Host) {
	pods := host.Client().CoreV1().Pods(metav1.NamespaceDefault)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "registry.example.com/c:1"}}},
	}
	eventually(t, "the host takes no pod", func(ctx context.Context) (bool, error) {
		// Until the namespace has its ServiceAccount the pod is refused.
		_, err := pods.Create(ctx, pod, metav1.CreateOptions{})
		return err == nil, nil
	})
	eventually(t, "the pod is not Running", func(ctx context.Context) (bool, error) {
		found, err := pods.Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		running := found.Status.Phase == corev1.PodRunning
		if running && (found.Spec.NodeName == "" || found.Status.PodIP == "" || found.Status.HostIP == "") {
			t.Errorf("the pod is Running on node %q with IP %q of host %q", found.Spec.NodeName, found.Status.PodIP, found.Status.HostIP)
		}
		return running, nil
	})
	if err := pods.Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod is not gone", func(ctx context.Context) (bool, error) {
		_, err := pods.Get(ctx, pod.Name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
}

func testKubeconfig(t *testing.T, host *Host) {
	kubeconfig, err := host.Kubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Secrets(metav1.NamespaceSystem).List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("the kubeconfig of the host's administrator does not work over TLS: %v", err)
	}
}

// testRequests asks as a service account and as an administrator. Only the first
// may count.
func testRequests(t *testing.T, host *Host) {
	token, err := host.Client().CoreV1().ServiceAccounts(metav1.NamespaceDefault).
		CreateToken(t.Context(), "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host: "https://" + host.Address(), BearerToken: token.Status.Token, TLSClientConfig: rest.TLSClientConfig{CAData: host.CA()},
	})
	if err != nil {
		t.Fatal(err)
	}
	before, err := host.ServiceAccountRequests()
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := client.CoreV1().Pods(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
			t.Fatalf("an ordinary service account lists pods: %v", err)
		}
		if _, err := host.Client().CoreV1().Pods(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	after := before
	eventually(t, "a request is not counted", func(context.Context) (bool, error) {
		// A request is counted after its answer.
		var err error
		after, err = host.ServiceAccountRequests()
		return after-before >= 5, err
	})
	if after-before != 5 {
		t.Errorf("%v requests counted, want 5", after-before)
	}
}

func testMoreNodes(t *testing.T, host *Host) {
	if err := host.AddNodes(t.Context(), 40); err != nil {
		t.Fatal(err)
	}
	nodes, err := host.Client().CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes.Items) != 43 || len(host.Nodes()) != 43 {
		t.Errorf("%d nodes, %d names, want 43", len(nodes.Items), len(host.Nodes()))
	}
}

func testStop(t *testing.T, host *Host) {
	host.Stop()
	host.Stop()
	if err := host.Err(); err != nil {
		t.Errorf("a host that was stopped complains: %v", err)
	}
	if _, err := os.Stat(host.dir); !os.IsNotExist(err) {
		t.Errorf("the store is left behind: %v", err)
	}
	if conn, err := net.Dial("tcp", host.Address()); err == nil {
		_ = conn.Close()
		t.Error("something still listens at the host's address")
	}
}

func TestNodeAddressesDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for index := range 5000 {
		for _, address := range []string{podCIDR(index), nodeIP(index)} {
			if other, taken := seen[address]; taken {
				t.Fatalf("nodes %d and %d share %s", other, index, address)
			}
			seen[address] = index
			if ip, _, err := net.ParseCIDR(podCIDR(index)); err != nil || ip == nil {
				t.Fatalf("node %d has no pod range: %v", index, err)
			}
		}
	}
}

func TestStagesRefuseWhatTheyDoNotKnow(t *testing.T) {
	t.Parallel()
	if _, err := readStages("kind: Stage\nspec: {nonsense: 1}"); err == nil {
		t.Error("a stage with an unknown field is taken")
	}
}
