//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/test/etcd"
)

// TestSplit upgrades a virtual cluster so that its API runs apart from its controllers. Pods run
// on. A pod that is created while the controllers are away runs once they are back.
func TestSplit(t *testing.T) {
	t.Parallel()
	const external = "controlPlane.backingStore.etcd.external."
	tn := install(t, "split", "split", external+"enabled=true", external+"endpoint="+etcd.Start(t, etcd.Options{IP: machineAddress(t)}).Endpoint())
	tn.runPods("before")
	tn.upgrade("controlPlane.advanced.split.enabled=true")
	eventually(t, "the controllers lead", func(context.Context) error {
		if leader := tn.leader(t); leader != "split-controllers-0" {
			return errors.New(leader + " leads")
		}
		return nil
	})
	tn.runPods("before", "apart")
	tn.testAddressesOfAPI()
	eventually(t, "a pod gets an answer from DNS", func(context.Context) error {
		out, err := tn.command("exec", "before", "--", "nslookup", "kubernetes.default.svc.cluster.local").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})

	tn.scaleControllers(0)
	tn.createPod(t.Context(), "after")
	tn.scaleControllers(1)
	tn.runPods("before", "apart", "after")
}

// testAddressesOfAPI checks that the virtual Service kubernetes leads to the pods of the API alone.
func (tn *tenant) testAddressesOfAPI() {
	tn.t.Helper()
	pods, err := hostClient.CoreV1().Pods(tn.namespace).List(tn.t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=control-plane"})
	if err != nil || len(pods.Items) != 1 {
		tn.t.Fatalf("%d pods serve the API: %v", len(pods.Items), err)
	}
	eventually(tn.t, "the virtual API has one address", func(ctx context.Context) error {
		slices, err := tn.virtual.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=kubernetes"})
		if err != nil {
			return err
		}
		var addresses []string
		for _, slice := range slices.Items {
			for _, endpoint := range slice.Endpoints {
				addresses = append(addresses, endpoint.Addresses...)
			}
		}
		if got := strings.Join(addresses, " "); got != pods.Items[0].Status.PodIP {
			return fmt.Errorf("it has %q, want %s", got, pods.Items[0].Status.PodIP)
		}
		return nil
	})
}

// scaleControllers scales the workload of the controllers, and waits until it has as many pods.
func (tn *tenant) scaleControllers(replicas int32) {
	tn.t.Helper()
	sets := hostClient.AppsV1().StatefulSets(tn.namespace)
	eventually(tn.t, fmt.Sprintf("%d replicas run controllers", replicas), func(ctx context.Context) error {
		scale, err := sets.GetScale(ctx, tn.release+"-controllers", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if scale.Spec.Replicas == replicas {
			if scale.Status.Replicas != replicas {
				return errors.New("others still run")
			}
			return nil
		}
		scale.Spec.Replicas = replicas
		if _, err := sets.UpdateScale(ctx, tn.release+"-controllers", scale, metav1.UpdateOptions{}); err != nil {
			return err
		}
		return errors.New("just scaled")
	})
}
