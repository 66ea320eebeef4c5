package translate

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// Keys of [labels.LastApplied] for ephemeral containers, which it records by name. An operator may
// have added one to the host pod under a name that the tenant uses later. The tenant must not
// attach to it, because it may have permissions that no tenant has.
const (
	debugGroup        = "debug"        // containers that were added for the tenant
	foreignDebugGroup = "foreignDebug" // names that the tenant uses and an operator used first
)

// IsTenantsDebugContainer reports whether an ephemeral container of a host pod was added for the
// tenant.
func IsTenantsDebugContainer(host metav1.Object, name string) bool {
	_, ok := DecodeLastApplied(host.GetAnnotations()[labels.LastApplied])[debugGroup][name]
	return ok
}

// ForeignDebugContainers returns the names of the tenant's ephemeral containers that never start,
// because an operator has added one of that name to the host pod. It does not return a container
// that the tenant has just added and that is not recorded yet.
func ForeignDebugContainers(virtual, host *corev1.Pod) []string {
	if len(virtual.Spec.EphemeralContainers) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(DecodeLastApplied(host.GetAnnotations()[labels.LastApplied])[foreignDebugGroup]))
}

// addDebugContainers adds the ephemeral containers that the tenant has added to the virtual pod.
// Existing ones cannot be changed or removed. sent is the record of those that were added before.
// It returns the new record, and that of the names that an operator used first. A container
// without a record is the tenant's if it equals the one that would be added. The last update
// may have failed before it wrote the record.
func addDebugContainers(in PodInput, virtual, host *corev1.Pod, sent LastApplied) (record, foreign LastApplied) {
	record, foreign = LastApplied{}, LastApplied{}
	for i := range virtual.Spec.EphemeralContainers {
		name := virtual.Spec.EphemeralContainers[i].Name
		if _, recorded := sent[name]; !recorded {
			container := toHostDebugContainer(in, virtual, &virtual.Spec.EphemeralContainers[i])
			switch existing := findDebugContainer(host, name); {
			case existing == nil:
				host.Spec.EphemeralContainers = append(host.Spec.EphemeralContainers, container)
			case !equality.Semantic.DeepEqual(*existing, container):
				foreign[name] = digest(name)
				continue
			}
		}
		record[name] = digest(name)
	}
	return record, foreign
}

// addRequestedDebugContainers adds the records that [updatePod] writes once the host pod has all
// ephemeral containers of the virtual pod, or never gets them.
func addRequestedDebugContainers(virtual, host *corev1.Pod, records map[string]LastApplied) {
	foreign := ForeignDebugContainers(virtual, host)
	for i := range virtual.Spec.EphemeralContainers {
		name, group := virtual.Spec.EphemeralContainers[i].Name, debugGroup
		if slices.Contains(foreign, name) {
			group = foreignDebugGroup
		}
		if records[group] == nil {
			records[group] = LastApplied{}
		}
		records[group][name] = digest(name)
	}
}

// findDebugContainer returns the ephemeral container of that name, nil if there is none.
func findDebugContainer(pod *corev1.Pod, name string) *corev1.EphemeralContainer {
	i := slices.IndexFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &pod.Spec.EphemeralContainers[i]
}

// toHostDebugContainer returns the ephemeral container of the host pod for that of a virtual pod.
func toHostDebugContainer(in PodInput, virtual *corev1.Pod, container *corev1.EphemeralContainer) corev1.EphemeralContainer {
	spec := corev1.PodSpec{EphemeralContainers: []corev1.EphemeralContainer{*container.DeepCopy()}}
	resolveAnnotations(virtual, spec.EphemeralContainers[0].Env)
	renameReferences(in.Cluster, virtual.Namespace, &spec)
	addServiceEnv(in, virtual, &spec)
	setPullPolicy(in, &spec)
	translateImages(in, &spec)
	return spec.EphemeralContainers[0]
}

// maxResolved limits the bytes of annotations that are written into the environment variables of
// one ephemeral container. Many variables may refer to the same large annotation.
const maxResolved = 64 << 10

// resolveAnnotations replaces references to annotations of the pod by their values. An ephemeral
// container starts at once and only once, but the host pod gets a new annotation only after the
// container. References beyond maxResolved stay. As a kubelet expands variables in values, they
// are escaped.
func resolveAnnotations(virtual *corev1.Pod, env []corev1.EnvVar) {
	resolved := 0
	for i := range env {
		if env[i].ValueFrom == nil || env[i].ValueFrom.FieldRef == nil {
			continue
		}
		field, key, ok := parseSubscript(env[i].ValueFrom.FieldRef.FieldPath)
		if !ok || field != "metadata.annotations" {
			continue
		}
		value := strings.ReplaceAll(virtual.Annotations[key], "$", "$$")
		if resolved+len(value) > maxResolved {
			continue
		}
		resolved += len(value)
		env[i].Value, env[i].ValueFrom = value, nil
	}
}
