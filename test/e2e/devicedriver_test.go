//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/dynamic-resource-allocation/resourceslice"
)

const (
	deviceDriverName = "devices.e2e.sublet.test"
	// cdiKind is the kind of the devices that containerd finds.
	cdiKind = "e2e.sublet.test/device"
)

// deviceDriver is a driver for devices that do nothing. A container that has one finds its
// name in a variable.
type deviceDriver struct {
	t *testing.T
	// cdi is the folder in which containerd looks for the devices of drivers.
	cdi string
	// node and devices are the names of the pool and of what is in it.
	node    string
	devices []string

	mu      sync.Mutex
	holders map[string]types.UID // device -> claim that has it
	twice   []string             // devices that a second claim has got
}

// startDeviceDriver registers a driver with the kubelet, with these devices, until the test
// ends.
func startDeviceDriver(t *testing.T, devices ...string) *deviceDriver {
	t.Helper()
	host := filepath.Dir(hostKubeconfig)
	pid, err := os.ReadFile(filepath.Join(host, "run", "containerd.pid"))
	if err != nil {
		t.Skipf("the driver needs a node on this machine: %v", err)
	}
	number, _, _ := strings.Cut(string(pid), " ")
	// The node has a /run of its own.
	d := &deviceDriver{t: t, devices: devices, cdi: filepath.Join("/proc", number, "root", "run", "cdi"), holders: map[string]types.UID{}}
	kubelet := filepath.Join(host, "state", "kubelet")
	plugin := filepath.Join(kubelet, "plugins", deviceDriverName)
	for _, dir := range []string{plugin, d.cdi} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	nodes, err := hostClient.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d.node = nodes.Items[0].Name
	ctx := context.WithoutCancel(t.Context())
	helper, err := kubeletplugin.Start(ctx, d,
		kubeletplugin.DriverName(deviceDriverName), kubeletplugin.KubeClient(hostClient), kubeletplugin.NodeName(d.node),
		kubeletplugin.RegistrarDirectoryPath(filepath.Join(kubelet, "plugins_registry")), kubeletplugin.PluginDataDirectoryPath(plugin))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		helper.Stop()
		ours := metav1.ListOptions{FieldSelector: resourcev1.ResourceSliceSelectorDriver + "=" + deviceDriverName}
		_ = hostClient.ResourceV1().ResourceSlices().DeleteCollection(ctx, metav1.DeleteOptions{}, ours)
		_ = os.RemoveAll(plugin)
	})
	slice := resourceslice.Slice{}
	for _, name := range devices {
		slice.Devices = append(slice.Devices, resourcev1.Device{Name: name})
	}
	pool := resourceslice.Pool{Slices: []resourceslice.Slice{slice}}
	resources := resourceslice.DriverResources{Pools: map[string]resourceslice.Pool{d.node: pool}}
	if err := helper.PublishResources(ctx, resources); err != nil {
		t.Fatal(err)
	}
	return d
}

// PrepareResourceClaims implements [kubeletplugin.DRAPlugin].
func (d *deviceDriver) PrepareResourceClaims(_ context.Context, claims []*resourcev1.ResourceClaim) (map[types.UID]kubeletplugin.PrepareResult, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	results := map[types.UID]kubeletplugin.PrepareResult{}
	for _, claim := range claims {
		var result kubeletplugin.PrepareResult
		for _, allocated := range claim.Status.Allocation.Devices.Results {
			if holder, ok := d.holders[allocated.Device]; ok && holder != claim.UID {
				d.twice = append(d.twice, fmt.Sprintf("%s of %s and %s", allocated.Device, holder, claim.UID))
			}
			d.holders[allocated.Device] = claim.UID
			result.Devices = append(result.Devices, kubeletplugin.Device{
				Requests: []string{allocated.Request}, PoolName: allocated.Pool, DeviceName: allocated.Device,
				CDIDeviceIDs: []string{cdiKind + "=" + string(claim.UID)},
			})
			result.Err = d.writeCDI(claim.UID, allocated.Device)
		}
		results[claim.UID] = result
	}
	return results, nil
}

// UnprepareResourceClaims implements [kubeletplugin.DRAPlugin].
func (d *deviceDriver) UnprepareResourceClaims(_ context.Context, claims []kubeletplugin.NamespacedObject) (map[types.UID]error, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	results := map[types.UID]error{}
	for _, claim := range claims {
		for device, holder := range d.holders {
			if holder == claim.UID {
				delete(d.holders, device)
			}
		}
		results[claim.UID] = os.RemoveAll(d.cdiFile(claim.UID))
	}
	return results, nil
}

// HandleError implements [kubeletplugin.DRAPlugin].
func (d *deviceDriver) HandleError(_ context.Context, err error, message string) {
	d.t.Logf("device driver: %s: %v", message, err)
}

// WatchHealthStatus implements [kubeletplugin.DRAPlugin]. All devices are broken.
func (d *deviceDriver) WatchHealthStatus(ctx context.Context, reports chan<- kubeletplugin.DeviceHealthReport) error {
	var report kubeletplugin.DeviceHealthReport
	for _, device := range d.devices {
		report.Devices = append(report.Devices, kubeletplugin.DeviceHealth{
			PoolName: d.node, DeviceName: device, Health: kubeletplugin.HealthStatusUnhealthy, Message: "too hot", HealthCheckTimeout: time.Hour,
		})
	}
	select {
	case reports <- report:
		<-ctx.Done()
	case <-ctx.Done():
	}
	return nil
}

// cdiFile returns the file with the device of a claim.
func (d *deviceDriver) cdiFile(claim types.UID) string {
	return filepath.Join(d.cdi, "e2e-"+string(claim)+".json")
}

// writeCDI writes for containerd what a container with a claim gets.
func (d *deviceDriver) writeCDI(claim types.UID, device string) error {
	text, err := json.Marshal(map[string]any{
		"cdiVersion": "0.6.0", "kind": cdiKind,
		"devices": []any{map[string]any{"name": string(claim), "containerEdits": map[string]any{"env": []string{"E2E_DEVICE=" + device}}}},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(d.cdiFile(claim), text, 0o644)
}
