package integration

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
	"github.com/sublet-dev/sublet/test/await"
)

// TestClassesOfTheHost checks that the API server of the virtual cluster takes copies of what
// the host has for pods and volumes. They are deleted with their originals.
func TestClassesOfTheHost(t *testing.T) {
	r := newRelease(t)
	ctx := t.Context()
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: r.namespace + name} }
	class := &storagev1.StorageClass{ObjectMeta: named("-fast"), Provisioner: "csi.example.com"}
	room := resource.MustParse("10Gi")
	originals := []client.Object{
		class,
		&nodev1.RuntimeClass{
			ObjectMeta: named("-gvisor"), Handler: "runsc",
			Overhead:   &nodev1.Overhead{PodFixed: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}},
			Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"sandbox": "gvisor"}},
		},
		&schedulingv1.PriorityClass{ObjectMeta: named("-urgent"), Value: 1000},
		&storagev1.CSIDriver{ObjectMeta: named(".example.com")},
		&networkingv1.IngressClass{ObjectMeta: named("-public"), Spec: networkingv1.IngressClassSpec{Controller: "example.com/controller"}},
		&storagev1.CSINode{ObjectMeta: named("-node"), Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: "csi.example.com", NodeID: "i-1"}}}},
		&resourcev1.DeviceClass{ObjectMeta: named("-gpus")},
		&resourcev1.ResourceSlice{ObjectMeta: named("-fabric"), Spec: resourcev1.ResourceSliceSpec{
			Driver: "fabric.example.com", AllNodes: new(true), Devices: []resourcev1.Device{{Name: "port-0"}},
			Pool: resourcev1.ResourcePool{Name: r.namespace, ResourceSliceCount: 1},
		}},
		&storagev1.CSIStorageCapacity{
			ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "csisc-1"}, StorageClassName: class.Name, Capacity: &room,
			NodeTopology: &metav1.LabelSelector{MatchLabels: map[string]string{"zone": "a"}},
		},
	}
	shown := originals[:len(originals)-1]
	create := func(side client.Client, object client.Object) {
		if err := side.Create(ctx, object); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.IgnoreNotFound(side.Delete(context.WithoutCancel(ctx), object)) })
	}
	for _, original := range originals {
		create(r.host.client, original)
	}
	create(r.virtual.client, &corev1.Node{ObjectMeta: named("-node")})
	names := []string{"storageclasses", "runtimeclasses", "priorityclasses", "csidrivers", "ingressclasses", "csinodes", "csistoragecapacities", "deviceclasses", "resourceslices", "resourceclaims"}
	r.startSome(t, r.allKinds(func(o *kinds.Options) {
		for _, setting := range []string{"runtimeClasses", "priorityClasses", "csiDrivers", "ingressClasses", "csiNodes", "csiStorageCapacities", "deviceClasses", "resourceSlices"} {
			o.Sync.Kinds["sync.fromHost."+setting] = v1alpha1.KindSettings{Enabled: true}
		}
		o.Sync.Kinds["sync.toHost.resourceClaims"] = v1alpha1.KindSettings{Enabled: true}
	}), names...)
	for _, original := range shown {
		r.isShown(t, original, true)
	}
	r.showsRoom(t, class.Name, room)
	r.copiesClaim(t, r.namespace+"-gpus")

	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "sandboxed"}, Spec: corev1.PodSpec{
		RuntimeClassName: new(r.namespace + "-gvisor"), PriorityClassName: r.namespace + "-urgent",
		Containers: []corev1.Container{{Name: "c", Image: "busybox"}},
	}}
	await.Until(t, "a pod of the classes", func(ctx context.Context) error {
		err := r.virtual.client.Create(ctx, pod)
		if apierrors.IsAlreadyExists(err) {
			err = r.virtual.client.Get(ctx, client.ObjectKeyFromObject(pod), pod)
		}
		return err
	})
	if pod.Spec.Overhead.Cpu().String() != "100m" || pod.Spec.NodeSelector["sandbox"] != "gvisor" || *pod.Spec.Priority != 1000 {
		t.Errorf("the pod must have what its classes give: overhead %v, nodeSelector %v, priority %d",
			pod.Spec.Overhead, pod.Spec.NodeSelector, *pod.Spec.Priority)
	}
	for _, original := range originals {
		if err := r.host.client.Delete(ctx, original); err != nil {
			t.Fatal(err)
		}
	}
	for _, original := range shown {
		r.isShown(t, original, false)
	}
}

// copiesClaim creates a claim of a device class and waits until the host has it.
func (r *release) copiesClaim(t *testing.T, class string) {
	t.Helper()
	claim := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "gpu"}}
	claim.Spec.Devices.Requests = []resourcev1.DeviceRequest{{Name: "one", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: class}}}
	if err := r.virtual.client.Create(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "claim on the host", func(ctx context.Context) error {
		return r.host.client.Get(ctx, r.hostKey("gpu"), &resourcev1.ResourceClaim{})
	})
}

// isShown waits until the virtual cluster has an object of that name, or has none.
func (r *release) isShown(t *testing.T, original client.Object, want bool) {
	t.Helper()
	await.Until(t, fmt.Sprintf("%T %s", original, original.GetName()), func(ctx context.Context) error {
		found, ok := original.DeepCopyObject().(client.Object)
		if !ok {
			return fmt.Errorf("%T is no object", original)
		}
		err := r.virtual.client.Get(ctx, client.ObjectKeyFromObject(original), found)
		if apierrors.IsNotFound(err) && !want || err == nil && want {
			return nil
		}
		return fmt.Errorf("shown: %t, %w", err == nil, err)
	})
}

// showsRoom waits until the virtual cluster has the capacity of a class.
func (r *release) showsRoom(t *testing.T, class string, room resource.Quantity) {
	t.Helper()
	await.Until(t, "the capacity of "+class, func(ctx context.Context) error {
		var list storagev1.CSIStorageCapacityList
		if err := r.virtual.client.List(ctx, &list, client.InNamespace(metav1.NamespaceSystem)); err != nil {
			return err
		}
		for i := range list.Items {
			if list.Items[i].StorageClassName == class && list.Items[i].Capacity.Cmp(room) == 0 {
				return nil
			}
		}
		return fmt.Errorf("%d capacities, none of the class", len(list.Items))
	})
}
