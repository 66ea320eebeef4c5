//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// cutLeader cuts the leader of three replicas off every network. Another one leads, and
// syncs. The one that was cut takes no write, and has none of its own when it is back.
// [checkTerms] finds the writes of two leaders at once.
func (tn *tenant) cutLeader() {
	tn.t.Helper()
	cut := tn.leader(tn.t)
	other := tn.release + "-0"
	if cut == other {
		other = tn.release + "-1"
	}
	majority := tn.clientOf(other)
	network := enterNetwork(tn.t, cut)
	w := tn.startWriter("cut")
	begin := time.Now()
	network.cut()

	pod := newSleeper("cut")
	eventually(tn.t, "the majority takes a pod", func(ctx context.Context) error {
		_, err := majority.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, pod, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil // The answer to an earlier request was lost.
		}
		return err
	})
	tn.hostPodOf(pod.Name) // The new leader has synced it.
	figure("ha_cut_gap", time.Since(begin).Seconds(), "s")
	if out, err := network.kubectl(tn, "create", "configmap", "minority", "--request-timeout=5s").CombinedOutput(); err == nil {
		tn.t.Errorf("%s took a write although it was cut off: %s", cut, out)
	}

	network.mend()
	tn.awaitMembers(3)
	w.check("cut")
	if list := tn.kubectl("get", "configmaps", "--field-selector", "metadata.name=minority", "-o", "name"); list != "" {
		tn.t.Errorf("the write that was refused is there: %s", list)
	}
}

// clientOf returns a client of the API server of one replica.
func (tn *tenant) clientOf(pod string) kubernetes.Interface {
	tn.t.Helper()
	config := rest.CopyConfig(tn.virtualConfig)
	config.ServerName = "localhost"
	config.Host = "https://" + net.JoinHostPort(tn.replica(pod).Status.PodIP, "8443")
	config.Timeout = 5 * time.Second
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		tn.t.Fatal(err)
	}
	return client
}

// podNetwork is the network namespace of a pod.
type podNetwork struct {
	t     *testing.T
	enter []string // command and arguments that run another command in it
	route []string // arguments that describe its default route
}

// enterNetwork returns the network of a pod of the control plane.
func enterNetwork(t *testing.T, pod string) *podNetwork {
	t.Helper()
	// The network outlives the process, which the kubelet ends when its probes fail for long.
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", processOf(t, pod)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = namespace.Close() })
	n := &podNetwork{t: t, enter: []string{"nsenter", fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), namespace.Fd())}}
	n.route = strings.Fields(mustRun(t, n.command("ip", "-4", "route", "show", "default")))
	t.Cleanup(n.mend)
	return n
}

func (n *podNetwork) command(args ...string) *exec.Cmd {
	all := slices.Concat(n.enter, args)
	return newCommand(all[0], all[1:]...)
}

// kubectl returns a command of a tenant that is in the pod.
func (n *podNetwork) kubectl(tn *tenant, args ...string) *exec.Cmd {
	connect := []string{"kubectl", "--kubeconfig", tn.kubeconfig, "--server", "https://localhost:8443", "--tls-server-name", "localhost"}
	return n.command(append(connect, args...)...)
}

// cut takes the interface of the pod down. Its loopback interface stays.
func (n *podNetwork) cut() {
	n.t.Helper()
	mustRun(n.t, n.command("ip", "link", "set", "eth0", "down"))
}

// mend puts the interface back, with the route that it has lost. It may be called twice.
func (n *podNetwork) mend() {
	_ = n.command("ip", "link", "set", "eth0", "up").Run()
	_ = n.command(append([]string{"ip", "route", "replace"}, n.route...)...).Run()
}
