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

// The groups of ephemeral containers in [labels.LastApplied], by their names. Under the same names,
// a host pod may have others than the tenant has added. An operator may debug it, with
// permissions that no tenant has.
const (
	debugGroup        = "debug"        // that the tenant has added
	foreignDebugGroup = "foreignDebug" // that the tenant wants and others have added
)

// IsTenantsDebugContainer reports whether an ephemeral container of a host pod is the one that
// the tenant has added to the virtual pod.
func IsTenantsDebugContainer(host metav1.Object, name string) bool {
	_, ok := DecodeLastApplied(host.GetAnnotations()[labels.LastApplied])[debugGroup][name]
	return ok
}

// ForeignDebugContainers returns the names of the tenant's ephemeral containers under which the
// host pod has others. They never start. One that the tenant has just added is not among them,
// although it has no record yet.
func ForeignDebugContainers(virtual, host *corev1.Pod) []string {
	if len(virtual.Spec.EphemeralContainers) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(DecodeLastApplied(host.GetAnnotations()[labels.LastApplied])[foreignDebugGroup]))
}

// addDebugContainers starts the containers that the tenant added to a running pod. One that is
// there can neither change nor go. sent is the record of those that were added before. It
// returns the records of all that are the tenant's, and of those that are not. One without a
// record is the tenant's if it is as it was sent: the record is written after the container.
func addDebugContainers(in PodInput, virtual, host *corev1.Pod, sent LastApplied) (record, foreign LastApplied) {
	record, foreign = LastApplied{}, LastApplied{}
	for i := range virtual.Spec.EphemeralContainers {
		name := virtual.Spec.EphemeralContainers[i].Name
		if _, recorded := sent[name]; !recorded {
			container := toHostDebugContainer(in, virtual, &virtual.Spec.EphemeralContainers[i])
			switch there := findDebugContainer(host, name); {
			case there == nil:
				host.Spec.EphemeralContainers = append(host.Spec.EphemeralContainers, container)
			case !equality.Semantic.DeepEqual(*there, container):
				foreign[name] = digest(name)
				continue
			}
		}
		record[name] = digest(name)
	}
	return record, foreign
}

// requestedDebugContainers returns the record of all ephemeral containers of a virtual pod.
func requestedDebugContainers(virtual *corev1.Pod) LastApplied {
	record := LastApplied{}
	for i := range virtual.Spec.EphemeralContainers {
		name := virtual.Spec.EphemeralContainers[i].Name
		record[name] = digest(name)
	}
	return record
}

// findDebugContainer returns the ephemeral container of that name, nil if there is none.
func findDebugContainer(pod *corev1.Pod, name string) *corev1.EphemeralContainer {
	i := slices.IndexFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &pod.Spec.EphemeralContainers[i]
}

// toHostDebugContainer returns the host's form of an ephemeral container.
func toHostDebugContainer(in PodInput, virtual *corev1.Pod, container *corev1.EphemeralContainer) corev1.EphemeralContainer {
	spec := corev1.PodSpec{EphemeralContainers: []corev1.EphemeralContainer{*container.DeepCopy()}}
	resolveAnnotations(virtual, spec.EphemeralContainers[0].Env)
	renameReferences(in.Cluster, virtual.Namespace, &spec)
	linkServices(in, virtual, &spec)
	setPullPolicy(in, &spec)
	translateImages(in, &spec)
	return spec.EphemeralContainers[0]
}

// maxResolved is how many bytes of annotations the variables of one ephemeral container get as
// text. Each variable of a pod may name the same large annotation.
const maxResolved = 64 << 10

// resolveAnnotations replaces references to annotations of the pod by their values. The host pod
// gets an annotation that it has not had only after the container, which starts at once and once.
// References beyond maxResolved stay. A kubelet expands variables in text, so that is escaped.
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
