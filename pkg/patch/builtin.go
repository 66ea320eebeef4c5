package patch

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// builtin returns an empty object of each kind of the table of kinds, by the path of its
// settings. It is nil for kinds whose definition comes with a driver.
func builtin() map[string]any {
	return map[string]any{
		"sync.toHost.pods":                    &corev1.Pod{},
		"sync.toHost.services":                &corev1.Service{},
		"sync.toHost.endpointSlices":          &discoveryv1.EndpointSlice{},
		"sync.toHost.configMaps":              &corev1.ConfigMap{},
		"sync.toHost.secrets":                 &corev1.Secret{},
		"sync.toHost.persistentVolumeClaims":  &corev1.PersistentVolumeClaim{},
		"sync.toHost.volumeSnapshots":         nil,
		"sync.toHost.networkPolicies":         &networkingv1.NetworkPolicy{},
		"sync.toHost.podDisruptionBudgets":    &policyv1.PodDisruptionBudget{},
		"sync.toHost.ingresses":               &networkingv1.Ingress{},
		"sync.toHost.leases":                  &coordinationv1.Lease{},
		"sync.toHost.serviceAccounts":         &corev1.ServiceAccount{},
		"sync.toHost.resourceClaims":          &resourcev1.ResourceClaim{},
		"sync.fromHost.nodes":                 &corev1.Node{},
		"sync.fromHost.storageClasses":        &storagev1.StorageClass{},
		"sync.fromHost.volumeSnapshotClasses": nil,
		"sync.fromHost.runtimeClasses":        &nodev1.RuntimeClass{},
		"sync.fromHost.priorityClasses":       &schedulingv1.PriorityClass{},
		"sync.fromHost.csiDrivers":            &storagev1.CSIDriver{},
		"sync.fromHost.csiNodes":              &storagev1.CSINode{},
		"sync.fromHost.csiStorageCapacities":  &storagev1.CSIStorageCapacity{},
		"sync.fromHost.deviceClasses":         &resourcev1.DeviceClass{},
		"sync.fromHost.resourceSlices":        &resourcev1.ResourceSlice{},
		"sync.fromHost.configMaps":            &corev1.ConfigMap{},
		"sync.fromHost.secrets":               &corev1.Secret{},
		"sync.fromHost.events":                &corev1.Event{},
		"sync.fromHost.ingressClasses":        &networkingv1.IngressClass{},
	}
}

// BuiltinObject returns an empty object of a kind by the path of its settings, nil if there
// is no Go type of it. ok is false for a path that is of no kind.
func BuiltinObject(setting string) (object any, ok bool) {
	object, ok = builtin()[setting]
	return object, ok
}

// CompileAll compiles the patches of all kinds, by the path of their settings. Patches of
// custom resources are compiled without their schema, which only the host has.
func CompileAll(sync *v1alpha1.Sync) (map[string]*Set, []Problem) {
	sets := map[string]*Set{}
	var problems []Problem
	for _, kind := range sync.Patched() {
		set, wrong := Compile(kind.Patches, builtinOptions(kind))
		sets[kind.Setting] = set
		problems = append(problems, wrong...)
	}
	return sets, problems
}

// builtinOptions returns the options for a kind.
func builtinOptions(kind v1alpha1.Patched) Options {
	o := Options{Setting: kind.Setting}
	if object, ok := BuiltinObject(kind.Setting); ok && object != nil {
		o.Schema = OfType(object)
	}
	switch kind.Setting {
	case "sync.toHost.pods", "sync.toHost.persistentVolumeClaims", "sync.toHost.resourceClaims":
		o.Immutable = true
	}
	return o
}
