package scheduler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// newResourcePod returns a pod that asks for one of an extended resource.
func newResourcePod(name string, asks corev1.ResourceName) *corev1.Pod {
	pod := newPod(name)
	one := corev1.ResourceList{asks: resource.MustParse("1")}
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: one, Limits: one.DeepCopy()}
	return pod
}

// hostDevice waits until the host has taken a device for the resource of a pod, and returns the
// device.
func (s *shop) hostDevice(t *testing.T, pod string) string {
	t.Helper()
	var device string
	eventually(t, "the host has a device for "+pod, func(ctx context.Context) error {
		pods, err := s.host.Client().CoreV1().Pods(s.name).List(ctx, metav1.ListOptions{LabelSelector: labels.Cluster})
		if err != nil {
			return err
		}
		for i := range pods.Items {
			status := pods.Items[i].Status.ExtendedResourceClaimStatus
			if pods.Items[i].Annotations[labels.VirtualName] != pod || status == nil {
				continue
			}
			claim, err := s.host.Client().ResourceV1().ResourceClaims(s.name).Get(ctx, status.ResourceClaimName, metav1.GetOptions{})
			if err != nil || claim.Status.Allocation == nil {
				return fmt.Errorf("the claim of the host is %v, %w", claim, err)
			}
			result := claim.Status.Allocation.Devices.Results[0]
			device = result.Pool + "/" + result.Device
			return nil
		}
		return errors.New("the host pod has no claim")
	})
	return device
}

// TestDeviceResources gives devices of the host to pods that ask for the extended resource of a
// class. One of two tenants has a scheduler. Resources of classes that the tenant does not see are
// denied.
func TestDeviceResources(t *testing.T) {
	t.Parallel()
	host := newHost(t, 3)
	addDevices(t, host)
	devices := map[string]bool{}
	for _, s := range []*shop{openWith(t, host, "resources-plain", devicesOn(false)), openWith(t, host, "resources-scheduled", devicesOn(true))} {
		eventually(t, "the class is shown", func(ctx context.Context) error {
			_, err := s.client.ResourceV1().DeviceClasses().Get(ctx, "gpus", metav1.GetOptions{})
			return err
		})
		_, err := s.client.CoreV1().Pods(metav1.NamespaceDefault).Create(t.Context(), newResourcePod("denied", "example.com/hidden"), metav1.CreateOptions{})
		if err == nil || !strings.Contains(err.Error(), "no such device class") {
			t.Errorf("got error %v, want a denial of a class that is not shown", err)
		}
		s.create(t, newResourcePod("first", "example.com/gpus"))
		device := s.hostDevice(t, "first")
		if pod := s.running(t, "first"); !strings.HasPrefix(device, pod.Spec.NodeName+"/") || pod.Status.ExtendedResourceClaimStatus != nil {
			t.Errorf("the pod is on %s with the claim %v, its device is %s", pod.Spec.NodeName, pod.Status.ExtendedResourceClaimStatus, device)
		}
		devices[device] = true
		claims, err := s.client.ResourceV1().ResourceClaims(metav1.NamespaceAll).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(claims.Items) > 0 {
			t.Errorf("the tenant sees claims of the host: %v, %v", claims, err)
		}
	}
	if len(devices) != 2 {
		t.Errorf("two tenants have the devices %v", devices)
	}
}
