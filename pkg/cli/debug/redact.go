package debug

import (
	"reflect"
	"regexp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// redacted replaces what is left out.
const redacted = "REDACTED"

// redact returns an object without what may be secret. A type that it does not know becomes its
// metadata, so that a new type in the bundle cannot leak.
func redact(object runtime.Object) runtime.Object {
	object = object.DeepCopyObject()
	if meta.IsListType(object) {
		items := []runtime.Object{}
		_ = meta.EachListItem(object, func(item runtime.Object) error {
			items = append(items, redact(item))
			return nil
		})
		list := &metav1.List{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "List"}}
		for _, item := range items {
			list.Items = append(list.Items, runtime.RawExtension{Object: item})
		}
		return list
	}
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(nil)
		accessor.SetAnnotations(redactAnnotations(accessor.GetAnnotations()))
	}
	return redactType(object)
}

// redactType redacts the fields of a type. The object is a copy.
func redactType(object runtime.Object) runtime.Object {
	switch o := object.(type) {
	case *corev1.Pod:
		redactPod(&o.Spec)
		for i := range o.Status.ContainerStatuses {
			redactState(&o.Status.ContainerStatuses[i])
		}
	case *appsv1.StatefulSet:
		o.Spec.Template.Annotations = redactAnnotations(o.Spec.Template.Annotations)
		redactPod(&o.Spec.Template.Spec)
	case *corev1.ConfigMap:
		for key := range o.Data {
			o.Data[key] = redacted
		}
		o.BinaryData = nil
	case *corev1.Event:
		o.Message = redactText(o.Message)
	case *corev1.Service, *corev1.PersistentVolumeClaim, *rbacv1.Role, *corev1.ResourceQuota, *corev1.Namespace:
	default:
		return onlyMetadata(object)
	}
	return object
}

// onlyMetadata returns an object of the same name and labels, without content.
func onlyMetadata(object runtime.Object) runtime.Object {
	known := &metav1.PartialObjectMetadata{}
	if accessor, err := meta.Accessor(object); err == nil {
		known.Name, known.Namespace, known.Labels, known.UID = accessor.GetName(), accessor.GetNamespace(), accessor.GetLabels(), accessor.GetUID()
		known.Annotations, known.CreationTimestamp = accessor.GetAnnotations(), accessor.GetCreationTimestamp()
		known.OwnerReferences = accessor.GetOwnerReferences()
	}
	return known
}

// redactPod leaves out values of variables, and commands of containers that are not ours.
func redactPod(spec *corev1.PodSpec) {
	spec.EphemeralContainers = nil
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			container := &containers[i]
			for j := range container.Env {
				if container.Env[j].Value != "" {
					container.Env[j].Value = redacted
				}
			}
			if container.Name != "sublet" {
				container.Args, container.Command = redactList(container.Args), redactList(container.Command)
			}
			container.Lifecycle, container.LivenessProbe, container.ReadinessProbe, container.StartupProbe = nil, nil, nil, nil
		}
	}
	for i := range spec.Volumes {
		// Attributes of drivers may be credentials.
		if driver := spec.Volumes[i].CSI; driver != nil {
			driver.VolumeAttributes = nil
		}
		if driver := spec.Volumes[i].FlexVolume; driver != nil {
			driver.Options = nil
		}
	}
}

// redactState redacts the messages in the states of a container.
func redactState(status *corev1.ContainerStatus) {
	for _, state := range []*corev1.ContainerState{&status.State, &status.LastTerminationState} {
		if state.Terminated != nil {
			state.Terminated.Message = redactText(state.Terminated.Message)
		}
		if state.Waiting != nil {
			state.Waiting.Message = redactText(state.Waiting.Message)
		}
	}
}

// redactList replaces each text of a list, so that only their number is known.
func redactList(list []string) []string {
	hidden := slices.Clone(list)
	for i := range hidden {
		hidden[i] = redacted
	}
	return hidden
}

// redactAnnotations keeps the values of annotations that are known to be harmless.
func redactAnnotations(values map[string]string) map[string]string {
	kept := map[string]string{}
	for key, value := range values {
		kept[key] = redacted
		domain, _, _ := strings.Cut(key, "/")
		if domain == "sublet.dev" || domain == "meta.helm.sh" || domain == "checksum" || strings.HasSuffix(domain, "pod-security.kubernetes.io") {
			kept[key] = redactText(value)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return kept
}

// redactValues returns settings without text, unless it is the default at its place, or the schema has
// it in a list.
func redactValues(value, standard any, schema map[string]any) any {
	switch v := value.(type) {
	case map[string]any:
		defaults, _ := standard.(map[string]any)
		properties, _ := schema["properties"].(map[string]any)
		kept := map[string]any{}
		for key, inner := range v {
			known, ok := properties[key].(map[string]any)
			if !ok {
				kept[key] = redactValues(inner, nil, nil) // the key is in no list of ours, as a label is
				continue
			}
			kept[key] = redactValues(inner, defaults[key], known)
		}
		return kept
	case []any:
		kept := make([]any, 0, len(v))
		items, _ := schema["items"].(map[string]any)
		for _, inner := range v {
			kept = append(kept, redactValues(inner, nil, items))
		}
		return kept
	case string:
		choices, _ := schema["enum"].([]any)
		if v == "" || slices.Contains(choices, any(v)) || reflect.DeepEqual(value, standard) {
			return v
		}
		return redacted
	}
	return value
}

// secretTexts returns patterns of what logs and messages may have that nobody else should see.
func secretTexts() []*regexp.Regexp {
	return []*regexp.Regexp{
		regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]+-----.*?(-----END [A-Z0-9 ]+-----|$)`),
		regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*)?`),
		regexp.MustCompile(`(?i)(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}`),
		regexp.MustCompile(`(?i)"?(password|passwd|secret|token|api[_-]?key|private[_-]?key|client-key-data)"?\s*[=:]\s*("[^"]*"|[^\s,;&]+)`),
		regexp.MustCompile(`[a-z][a-z0-9+.-]*://[^\s/@]*:[^\s@]*@`),
	}
}

// redactText replaces secrets in free text.
func redactText(text string) string {
	for _, pattern := range secretTexts() {
		text = pattern.ReplaceAllString(text, redacted)
	}
	return text
}
