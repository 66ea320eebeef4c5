package scheduler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/hostlab/sim"
)

// deviceDriver is the driver of the devices of the host.
const deviceDriver = "gpu.example.com"

// devicesOn returns the settings of a tenant that gets devices.
func devicesOn(virtualScheduler bool) map[string]any {
	on := map[string]any{"enabled": true}
	return map[string]any{
		"controlPlane": map[string]any{"advanced": map[string]any{"virtualScheduler": map[string]any{"enabled": virtualScheduler}}},
		"sync": map[string]any{
			"toHost": map[string]any{"resourceClaims": on},
			"fromHost": map[string]any{
				"deviceClasses":  map[string]any{"enabled": true, "selector": map[string]any{"matchLabels": map[string]any{"tenants": "all"}}},
				"resourceSlices": on,
			},
		},
	}
}

// addDevices gives each node of the host but the first one device. It adds a class that tenants
// see, and one that they do not.
func addDevices(t *testing.T, host *sim.Host) {
	t.Helper()
	api, ctx := host.Client().ResourceV1(), t.Context()
	for name, labels := range map[string]map[string]string{"gpus": {"tenants": "all"}, "hidden": nil} {
		class := &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: resourcev1.DeviceClassSpec{
			ExtendedResourceName: new("example.com/" + name),
			Selectors:            []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: fmt.Sprintf("device.driver == %q", deviceDriver)}}},
		}}
		if _, err := api.DeviceClasses().Create(ctx, class, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range host.Nodes()[1:] {
		slice := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: node + "-gpus"}, Spec: resourcev1.ResourceSliceSpec{
			Driver: deviceDriver, NodeName: &node, Pool: resourcev1.ResourcePool{Name: node, ResourceSliceCount: 1},
			Devices: []resourcev1.Device{{Name: "gpu-0"}},
		}}
		if _, err := api.ResourceSlices().Create(ctx, slice, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// asksDevice returns the spec of a claim of one device of a class.
func asksDevice(class string) resourcev1.ResourceClaimSpec {
	return resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{
		Name: "one", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: class},
	}}}}
}

// createTemplate creates the template "gpu" of claims, once the class is shown.
func (s *shop) createTemplate(t *testing.T) {
	t.Helper()
	eventually(t, "the template is there", func(ctx context.Context) error {
		_, err := s.client.ResourceV1().ResourceClaimTemplates(metav1.NamespaceDefault).Create(ctx, &resourcev1.ResourceClaimTemplate{
			ObjectMeta: metav1.ObjectMeta{Name: "gpu"}, Spec: resourcev1.ResourceClaimTemplateSpec{Spec: asksDevice("gpus")},
		}, metav1.CreateOptions{})
		return err
	})
}

// newDevicePod returns a pod with a device, by the template or by a claim.
func newDevicePod(name, claim string) *corev1.Pod {
	pod := newPod(name)
	pod.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimTemplateName: new("gpu")}}
	if claim != "" {
		pod.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: &claim}}
	}
	pod.Spec.Containers[0].Resources.Claims = []corev1.ResourceClaim{{Name: "gpu"}}
	return pod
}

// device waits until the claim of a pod shows its device, and returns the device.
func (s *shop) device(t *testing.T, pod string) string {
	t.Helper()
	var device string
	eventually(t, "the claim of "+pod+" shows its device", func(ctx context.Context) (err error) {
		device, err = s.shownDevice(ctx, pod)
		return err
	})
	return device
}

// shownDevice returns the device that the claim of a pod shows now. The claim must be reserved for
// the pod.
func (s *shop) shownDevice(ctx context.Context, pod string) (string, error) {
	found, err := s.get(ctx, pod)
	if err != nil {
		return "", err
	}
	name := found.Spec.ResourceClaims[0].ResourceClaimName
	if name == nil && len(found.Status.ResourceClaimStatuses) > 0 {
		name = found.Status.ResourceClaimStatuses[0].ResourceClaimName
	}
	if name == nil {
		return "", errors.New("the pod has no claim yet")
	}
	claim, err := s.client.ResourceV1().ResourceClaims(metav1.NamespaceDefault).Get(ctx, *name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if claim.Status.Allocation == nil || len(claim.Status.ReservedFor) == 0 {
		return "", fmt.Errorf("the status of %s is %v", *name, claim.Status)
	}
	for _, consumer := range claim.Status.ReservedFor {
		if consumer.UID == found.UID && consumer.Name == pod {
			result := claim.Status.Allocation.Devices.Results[0]
			return result.Pool + "/" + result.Device, nil
		}
	}
	return "", fmt.Errorf("%s is reserved for %v", *name, claim.Status.ReservedFor)
}

// hostClaims counts the claims of the shop on the host.
func (s *shop) hostClaims(t *testing.T, want int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d claims on the host", want), func(ctx context.Context) error {
		list, err := s.host.Client().ResourceV1().ResourceClaims(s.name).List(ctx, metav1.ListOptions{LabelSelector: labels.Cluster})
		if err == nil && len(list.Items) != want {
			err = fmt.Errorf("there are %d", len(list.Items))
		}
		return err
	})
}

// TestDevices gives devices of the host to pods of two tenants, one of which has a scheduler.
// The host allocates for both, so they never get the same device.
func TestDevices(t *testing.T) {
	t.Parallel()
	host := newHost(t, 3)
	addDevices(t, host)
	plain, scheduled := openWith(t, host, "devices-plain", devicesOn(false)), openWith(t, host, "devices-scheduled", devicesOn(true))
	for _, s := range []*shop{plain, scheduled} {
		s.createTemplate(t)
		s.deniesClaims(t)
	}
	plain.create(t, newDevicePod("first", ""))
	first := plain.device(t, "first")
	if node := plain.running(t, "first").Spec.NodeName; !strings.HasPrefix(first, node+"/") {
		t.Errorf("the pod is on %s, its device is %s", node, first)
	}
	scheduled.create(t, newDevicePod("second", ""))
	second := scheduled.device(t, "second")
	if node := scheduled.running(t, "second").Spec.NodeName; !strings.HasPrefix(second, node+"/") {
		t.Errorf("the pod is on %s, its device is %s", node, second)
	}
	if first == second {
		t.Fatalf("two tenants have the same device %s", first)
	}
	scheduled.forge(t, "second", first)
	eventually(t, "the claim shows what the host allocated again", func(ctx context.Context) error {
		got, err := scheduled.shownDevice(ctx, "second")
		if err == nil && got != second {
			err = fmt.Errorf("a tenant has forged %s, and the claim shows %s instead of %s", first, got, second)
		}
		return err
	})
	scheduled.create(t, newDevicePod("third", ""))
	eventually(t, "the third pod finds no device", func(ctx context.Context) error {
		pod, err := scheduled.get(ctx, "third")
		if err == nil && (pod.Spec.NodeName != "" || !strings.Contains(fmt.Sprint(pod.Status.Conditions), "allocate")) {
			err = fmt.Errorf("on %q, conditions %v", pod.Spec.NodeName, pod.Status.Conditions)
		}
		return err
	})
	if err := plain.client.CoreV1().Pods(metav1.NamespaceDefault).Delete(t.Context(), "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	plain.hostClaims(t, 0)
	scheduled.running(t, "third")
	if got := scheduled.device(t, "third"); got != first {
		t.Errorf("the pod has %s, want %s, which the other tenant has returned", got, first)
	}
	scheduled.sharesClaim(t)
}

// deniesClaims checks what no claim may ask.
func (s *shop) deniesClaims(t *testing.T) {
	t.Helper()
	admin, config := asksDevice("gpus"), asksDevice("gpus")
	admin.Devices.Requests[0].Exactly.AdminAccess = new(true)
	config.Devices.Config = []resourcev1.DeviceClaimConfiguration{{DeviceConfiguration: resourcev1.DeviceConfiguration{
		Opaque: &resourcev1.OpaqueDeviceConfiguration{Driver: deviceDriver},
	}}}
	config.Devices.Config[0].Opaque.Parameters.Raw = []byte(`{"mount":"/"}`)
	namespace, err := s.client.CoreV1().Namespaces().Get(t.Context(), metav1.NamespaceDefault, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// A tenant may set the label without which Kubernetes allows no admin access.
	namespace.Labels[resourcev1.DRAAdminNamespaceLabelKey] = "true"
	if _, err := s.client.CoreV1().Namespaces().Update(t.Context(), namespace, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for text, spec := range map[string]resourcev1.ResourceClaimSpec{
		"no such device class": asksDevice("hidden"), "devices that others use": admin, "policies.devices.configDrivers": config,
	} {
		claim := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: "denied"}, Spec: spec}
		_, err := s.client.ResourceV1().ResourceClaims(metav1.NamespaceDefault).Create(t.Context(), claim, metav1.CreateOptions{})
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), text) {
			t.Errorf("got error %v, want a denial with %q", err, text)
		}
	}
}

// forge writes an allocation of a device into the claim of a pod.
func (s *shop) forge(t *testing.T, pod, device string) {
	t.Helper()
	ctx, claims := t.Context(), s.client.ResourceV1().ResourceClaims(metav1.NamespaceDefault)
	found, err := s.get(ctx, pod)
	if err != nil {
		t.Fatal(err)
	}
	name := *found.Status.ResourceClaimStatuses[0].ResourceClaimName
	pool, deviceName, _ := strings.Cut(device, "/")
	// The syncer writes the status too, so it may take a few attempts.
	eventually(t, "the tenant clears the allocation and writes another", func(ctx context.Context) error {
		claim, err := claims.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		forged := claim.DeepCopy()
		claim.Status.ReservedFor, claim.Status.Allocation = nil, nil
		if claim, err = claims.UpdateStatus(ctx, claim, metav1.UpdateOptions{}); err != nil || forged.Status.Allocation == nil {
			return errors.Join(err, errors.New("again"))
		}
		forged.ResourceVersion = claim.ResourceVersion
		forged.Status.Allocation.Devices.Results[0].Pool, forged.Status.Allocation.Devices.Results[0].Device = pool, deviceName
		_, err = claims.UpdateStatus(ctx, forged, metav1.UpdateOptions{})
		if apierrors.IsConflict(err) {
			return nil // The syncer was faster, which is as good.
		}
		return err
	})
}

// sharesClaim runs two pods with one claim, which is protected as long as one of them uses it.
func (s *shop) sharesClaim(t *testing.T) {
	t.Helper()
	ctx, claims := t.Context(), s.client.ResourceV1().ResourceClaims(metav1.NamespaceDefault)
	if err := s.client.CoreV1().Pods(metav1.NamespaceDefault).Delete(ctx, "second", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.hostClaims(t, 1)
	claim := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: "shared"}, Spec: asksDevice("gpus")}
	if _, err := claims.Create(ctx, claim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"left", "right"} {
		s.create(t, newDevicePod(name, "shared"))
	}
	left, right := s.device(t, "left"), s.device(t, "right")
	if a, b := s.running(t, "left").Spec.NodeName, s.running(t, "right").Spec.NodeName; a != b || left != right {
		t.Errorf("two pods of one claim are on %s and %s, with %s and %s", a, b, left, right)
	}
	if err := claims.Delete(ctx, "shared", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.client.CoreV1().Pods(metav1.NamespaceDefault).Delete(ctx, "left", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "only the other pod has the claim, which is still there", func(ctx context.Context) error {
		claim, err := claims.Get(ctx, "shared", metav1.GetOptions{})
		if err == nil && (len(claim.Status.ReservedFor) != 1 || claim.Status.ReservedFor[0].Name != "right") {
			err = fmt.Errorf("it is reserved for %v", claim.Status.ReservedFor)
		}
		return err
	})
	if err := s.client.CoreV1().Pods(metav1.NamespaceDefault).Delete(ctx, "right", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the claim is gone", func(ctx context.Context) error {
		_, err := claims.Get(ctx, "shared", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there: %w", err)
	})
	s.hostClaims(t, 1)
}
