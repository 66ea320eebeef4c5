package translate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// prependEnv adds the variables of the API before the container's own. The container's own
// variable wins if both have the same name. It also resolves references to fields of the pod
// to those of the virtual pod.
func prependEnv(api []corev1.EnvVar, virtual *corev1.Pod, container *corev1.Container) {
	own := make(map[string]bool, len(container.Env))
	for i := range container.Env {
		own[container.Env[i].Name] = true
		resolveFieldRef(virtual, &container.Env[i])
	}
	env := make([]corev1.EnvVar, 0, len(api)+len(container.Env))
	for _, variable := range api {
		if !own[variable.Name] {
			env = append(env, variable)
		}
	}
	container.Env = append(env, container.Env...)
}

// resolveFieldRef resolves a reference to a field of the pod.
func resolveFieldRef(virtual *corev1.Pod, env *corev1.EnvVar) {
	if env.ValueFrom == nil || env.ValueFrom.FieldRef == nil {
		return
	}
	literal := func(value string) { env.Value, env.ValueFrom = value, nil }
	switch ref := env.ValueFrom.FieldRef; ref.FieldPath {
	case "metadata.name":
		literal(virtual.Name)
	case "metadata.namespace":
		literal(virtual.Namespace)
	case "metadata.uid":
		literal(string(virtual.UID))
	case "spec.serviceAccountName":
		literal(virtual.Spec.ServiceAccountName)
	default:
		// Other fields, such as node and addresses, are the same on both sides.
		ref.FieldPath = toHostFieldPath(ref.FieldPath)
	}
}

// toHostFieldPath returns the path in the host pod at which a field of the virtual pod is.
func toHostFieldPath(path string) string {
	switch path {
	case "metadata.name":
		return annotationPath(labels.VirtualName)
	case "metadata.namespace":
		return annotationPath(labels.VirtualNamespace)
	case "metadata.uid":
		return annotationPath(labels.VirtualUID)
	case "metadata.labels":
		return annotationPath(labels.DownwardLabels)
	case "metadata.annotations":
		return annotationPath(labels.DownwardAnnotations)
	}
	field, name, ok := parseSubscript(path)
	if !ok || field == "metadata.labels" && isTopologyLabel(name) {
		return path
	}
	return field + "['" + TenantLabel(name) + "']"
}

// annotationPath returns the path of an annotation.
func annotationPath(key string) string {
	return "metadata.annotations['" + key + "']"
}

// parseSubscript splits a path such as "metadata.labels['app']".
func parseSubscript(path string) (field, key string, ok bool) {
	field, rest, ok := strings.Cut(path, "['")
	key, found := strings.CutSuffix(rest, "']")
	return field, key, ok && found
}

// syncDownward returns the annotations of the host pod. It updates those through which the pod
// reads the labels and annotations of the virtual pod by the downward API.
func syncDownward(host map[string]string, virtual *corev1.Pod) map[string]string {
	synced := make(map[string]string, len(host))
	for key, value := range host {
		if !isGeneratedAnnotation(key) {
			synced[key] = value
		}
	}
	eachFieldRef(&virtual.Spec, func(ref *corev1.ObjectFieldSelector) {
		switch ref.FieldPath {
		case "metadata.labels":
			if _, done := synced[labels.DownwardLabels]; !done { // A pod may refer to them thousands of times.
				synced[labels.DownwardLabels] = formatMap(virtual.Labels)
			}
			return
		case "metadata.annotations":
			if _, done := synced[labels.DownwardAnnotations]; !done {
				synced[labels.DownwardAnnotations] = formatMap(withoutOurs(virtual.Annotations))
			}
			return
		}
		field, key, ok := parseSubscript(ref.FieldPath)
		if value, has := virtual.Annotations[key]; ok && has && field == "metadata.annotations" {
			synced[TenantLabel(key)] = value
		}
	})
	return synced
}

// withoutOurs returns the values whose keys are not Sublet's. A pod must not see that its cluster
// is virtual.
func withoutOurs(values map[string]string) map[string]string {
	others := maps.Clone(values)
	maps.DeleteFunc(others, func(key, _ string) bool { return IsOurs(key) })
	return others
}

// eachFieldRef visits every reference that a pod makes to its own fields.
func eachFieldRef(spec *corev1.PodSpec, visit func(*corev1.ObjectFieldSelector)) {
	eachContainer(spec, func(container *corev1.Container) {
		for i := range container.Env {
			if from := container.Env[i].ValueFrom; from != nil && from.FieldRef != nil {
				visit(from.FieldRef)
			}
		}
	})
	for i := range spec.Volumes {
		eachDownwardFile(&spec.Volumes[i], func(file *corev1.DownwardAPIVolumeFile) {
			if file.FieldRef != nil {
				visit(file.FieldRef)
			}
		})
	}
}

// eachDownwardFile visits the downward API files of a volume.
func eachDownwardFile(volume *corev1.Volume, visit func(*corev1.DownwardAPIVolumeFile)) {
	if volume.DownwardAPI != nil {
		for i := range volume.DownwardAPI.Items {
			visit(&volume.DownwardAPI.Items[i])
		}
	}
	if volume.Projected == nil {
		return
	}
	for _, source := range volume.Projected.Sources {
		if source.DownwardAPI == nil {
			continue
		}
		for i := range source.DownwardAPI.Items {
			visit(&source.DownwardAPI.Items[i])
		}
	}
}

// formatMap formats a map as the downward API does.
func formatMap(values map[string]string) string {
	lines := make([]string, 0, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		lines = append(lines, fmt.Sprintf("%s=%q", key, values[key]))
	}
	return strings.Join(lines, "\n")
}
