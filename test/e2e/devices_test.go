//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// usesDevice is a pod that prints the device that it has. It has no grace period. Its copy must
// have one, so that the kubelet takes the device back before another claim gets it.
const usesDevice = `
apiVersion: v1
kind: Pod
metadata: {name: @NAME@}
spec:
  terminationGracePeriodSeconds: 0
  resourceClaims: [{name: device, @SOURCE@}]
  containers:
    - name: main
      image: "@IMAGE@"
      imagePullPolicy: IfNotPresent
      command: [sh, -c, 'echo "has $E2E_DEVICE" && sleep infinity']
      resources: {claims: [{name: device}]}
`

// asksForDevice are a template and a claim of the class that is shown.
const asksForDevice = `
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: device}
spec: {spec: {devices: {requests: [{name: one, exactly: {deviceClassName: e2e-shown}}]}}}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: mine}
spec: {devices: {requests: [{name: one, exactly: {deviceClassName: e2e-shown}}]}}
`

// usesResource is a pod that asks for a device by the extended resource of a class.
const usesResource = `
apiVersion: v1
kind: Pod
metadata: {name: resource}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: "@IMAGE@"
      imagePullPolicy: IfNotPresent
      command: [sh, -c, 'echo "has $E2E_DEVICE" && sleep infinity']
      resources: {limits: {e2e.sublet.test/shown: 1}}
`

// createDeviceClasses gives the host a class that tenants see, and one that they do not.
func createDeviceClasses(t *testing.T) {
	t.Helper()
	for _, name := range []string{"shown", "hidden"} {
		class := &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "e2e-" + name, Labels: map[string]string{"e2e": name}}}
		class.Spec.ExtendedResourceName = new("e2e.sublet.test/" + name)
		class.Spec.Selectors = []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{
			Expression: fmt.Sprintf("device.driver == %q", deviceDriverName),
		}}}
		classes := hostClient.ResourceV1().DeviceClasses()
		if _, err := classes.Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = classes.Delete(context.WithoutCancel(t.Context()), class.Name, metav1.DeleteOptions{}) })
	}
}

// TestDevices gives devices of a node to pods of two tenants, one of which has a scheduler. A
// driver of the test prepares them. No two pods ever have the same one.
func TestDevices(t *testing.T) {
	t.Parallel()
	driver := startDeviceDriver(t, "device-0", "device-1")
	createDeviceClasses(t)
	settings := []string{
		"sync.toHost.resourceClaims.enabled=true", "sync.fromHost.resourceSlices.enabled=true",
		"sync.fromHost.deviceClasses.enabled=true", "sync.fromHost.deviceClasses.selector.matchLabels.e2e=shown",
	}
	plain := install(t, "devices-plain", "tenant-devices-plain", settings...)
	scheduled := install(t, "devices-sched", "tenant-devices-sched", append(settings,
		"sync.fromHost.nodes.selector.all=true", "controlPlane.advanced.virtualScheduler.enabled=true")...)
	for _, tn := range []*tenant{plain, scheduled} {
		eventually(t, "device class of "+tn.release, func(context.Context) error {
			out, err := tn.command("get", "deviceclasses", "-o", "name").CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != "deviceclass.resource.k8s.io/e2e-shown" {
				return fmt.Errorf("the tenant sees %s, %w", out, err)
			}
			return nil
		})
		tn.isDenied("no such device class", strings.ReplaceAll(asksForDevice, "e2e-shown", "e2e-hidden"))
		tn.apply(asksForDevice)
	}

	first := plain.hasDevice("first", "resourceClaimName: mine")
	second := scheduled.hasDevice("second", "resourceClaimTemplateName: device")
	if first == second {
		t.Fatalf("two tenants have the device %s", first)
	}
	plain.kubectl("label", "resourceclaim", "mine", "team=database")
	eventually(t, "label of the claim on the host", func(ctx context.Context) error {
		claims, err := hostClient.ResourceV1().ResourceClaims(plain.namespace).List(ctx, metav1.ListOptions{})
		if err != nil || len(claims.Items) != 1 || !hasLabelValue(claims.Items[0].Labels, "database") {
			return fmt.Errorf("the host has %v, %w", claims.Items, err)
		}
		return nil
	})
	scheduled.apply(podWithDevice("third", "resourceClaimTemplateName: device"))
	eventually(t, "pod without a device", func(context.Context) error {
		out, err := scheduled.command("get", "pod", "third", "-o", "jsonpath={.status.conditions[?(@.type=='PodScheduled')].message}").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "allocate") {
			return fmt.Errorf("the pod waits with %q, %w", out, err)
		}
		return nil
	})
	plain.kubectl("delete", "pod", "first", "--force")
	if third := scheduled.hasDevice("third", "resourceClaimTemplateName: device"); third != first {
		t.Errorf("the pod has %s, want %s, which the other tenant has returned", third, first)
	}
	plain.kubectl("delete", "resourceclaim", "mine")
	scheduled.showsHealth("third")
	scheduled.kubectl("delete", "pod", "second", "third")
	resources := map[string]bool{}
	for _, tn := range []*tenant{plain, scheduled} {
		tn.isDenied("no such device class", strings.ReplaceAll(usesResource, "e2e.sublet.test/shown", "e2e.sublet.test/hidden"))
		tn.apply(usesResource)
		tn.await("condition=Ready", "pod/resource")
		resources[tn.printsDevice("resource")] = true
	}
	if len(resources) != 2 {
		t.Errorf("two tenants have got %v for a resource", resources)
	}
	driver.mu.Lock()
	defer driver.mu.Unlock()
	if len(driver.twice) > 0 {
		t.Errorf("devices of two claims at once: %v", driver.twice)
	}
}

// podWithDevice returns the manifest of a pod with a claim.
func podWithDevice(name, source string) string {
	return strings.NewReplacer("@NAME@", name, "@SOURCE@", source).Replace(usesDevice)
}

// hasDevice runs a pod with a claim and returns the device that it prints. The claim in the
// virtual cluster shows the same device.
func (tn *tenant) hasDevice(name, source string) string {
	tn.t.Helper()
	tn.apply(podWithDevice(name, source))
	tn.await("condition=Ready", "pod/"+name)
	device := tn.printsDevice(name)
	eventually(tn.t, "claim with the device of "+name, func(context.Context) error {
		out, err := tn.command("get", "resourceclaims", "-o",
			"jsonpath={range .items[*]}{.status.reservedFor[0].name}={.status.allocation.devices.results[0].device} {end}").CombinedOutput()
		if err != nil || !strings.Contains(string(out), name+"="+device) {
			return fmt.Errorf("the claims show %q, want %s of %s, %w", out, device, name, err)
		}
		return nil
	})
	return device
}

// printsDevice waits until a pod prints the device that it has, and returns the device.
func (tn *tenant) printsDevice(name string) string {
	tn.t.Helper()
	var device string
	eventually(tn.t, "device of "+name, func(context.Context) error {
		out, err := tn.command("logs", name).CombinedOutput()
		var found bool
		if device, found = strings.CutPrefix(strings.TrimSpace(string(out)), "has "); err != nil || !found || device == "" {
			return fmt.Errorf("the pod prints %q, %w", out, err)
		}
		return nil
	})
	return device
}

// showsHealth waits until the status of a pod has the health of its device.
func (tn *tenant) showsHealth(name string) {
	tn.t.Helper()
	output(tn.t, "health of the device of "+name, "claim:device Unhealthy too hot", func() *exec.Cmd {
		return tn.command("get", "pod", name, "-o", "jsonpath={range .status.containerStatuses[0].allocatedResourcesStatus[*]}"+
			"{.name} {.resources[0].health} {.resources[0].message}{end}")
	})
}
