package debug

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// hidden is a text that no bundle may have.
const hidden = "hunter2-hunter2"

// kept is a text that helps, and stays.
const kept = "shown-in-bundles"

// secretPod returns a pod with secrets in each place that a pod has for them.
func secretPod() *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: kept, Annotations: map[string]string{"vendor.example/x": hidden, "sublet.dev/a": "b"}}}
	pod.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: hidden}}
	container := corev1.Container{
		Name: "web", Args: []string{"--password=" + hidden}, Command: []string{hidden}, Env: []corev1.EnvVar{{Name: "A", Value: hidden}},
		LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{HTTPHeaders: []corev1.HTTPHeader{{Name: "Authorization", Value: hidden}}}}},
		Lifecycle:     &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{hidden}}}},
	}
	pod.Spec.Containers, pod.Spec.InitContainers = []corev1.Container{container}, []corev1.Container{container}
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Env: container.Env}}}
	pod.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: kept, VolumeAttributes: map[string]string{"a": hidden}}}}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: "password=" + hidden}}}}
	return pod
}

// TestRedact redacts an object of each type, and of types that it does not know.
func TestRedact(t *testing.T) {
	t.Parallel()
	named := metav1.ObjectMeta{Name: kept, Annotations: map[string]string{"kubectl.kubernetes.io/last-applied-configuration": hidden}}
	set := &appsv1.StatefulSet{ObjectMeta: named}
	set.Spec.Template.Annotations, set.Spec.Template.Spec = map[string]string{"a": hidden}, secretPod().Spec
	for _, c := range []struct {
		reason string
		object runtime.Object
	}{
		{"pod", secretPod()},
		{"list of pods", &corev1.PodList{Items: []corev1.Pod{*secretPod()}}},
		{"StatefulSet", set},
		{"ConfigMap", &corev1.ConfigMap{ObjectMeta: named, Data: map[string]string{"a": hidden}, BinaryData: map[string][]byte{"b": []byte(hidden)}}},
		{"Event", &corev1.Event{ObjectMeta: named, Message: "token=" + hidden}},
		{"Role", &rbacv1.Role{ObjectMeta: named}},
		{"Secret, which is never asked for", &corev1.Secret{ObjectMeta: named, Data: map[string][]byte{"a": []byte(hidden)}, StringData: map[string]string{"b": hidden}}},
		{"a type that is not known", &corev1.Node{ObjectMeta: named, Spec: corev1.NodeSpec{ProviderID: hidden}}},
	} {
		data, err := encode(c.object, nil)
		if err != nil {
			t.Errorf("%s: %v", c.reason, err)
		}
		if text := string(data); strings.Contains(text, hidden) || !strings.Contains(text, kept) {
			t.Errorf("%s:\n%s", c.reason, text)
		}
	}
}

// TestRedactText replaces what looks like a secret in free text.
func TestRedactText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ reason, text, want string }{
		{"nothing", "Caches synced pods=3 node=node-1", "Caches synced pods=3 node=node-1"},
		{"a token", "token eyJhbGciOiJSUzI1.eyJpc3MiOiJodHRw.c2lnbmF0dXJl end", "token REDACTED end"},
		{"a header", "Authorization: Bearer abcdefghijkl end", "Authorization: REDACTED end"},
		{"a password", `a password="x y" b`, "a REDACTED b"},
		{"a field of JSON", `{"password": "x", "a": 1}`, `{REDACTED, "a": 1}`},
		{"a URL", "dial postgres://me:pw@db:5432/x: refused", "dial REDACTEDdb:5432/x: refused"},
		{"a key", "a\n-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\nb", "a\nREDACTED\nb"},
		{"half a key", "a\n-----BEGIN EC PRIVATE KEY-----\nMHc", "a\nREDACTED"},
	} {
		if got := redactText(c.text); got != c.want {
			t.Errorf("%s: got %q, want %q", c.reason, got, c.want)
		}
	}
}

// TestRedactValues keeps the settings that cannot be a secret.
func TestRedactValues(t *testing.T) {
	t.Parallel()
	const schema = `{"properties": {
"replicas": {"type": "integer"}, "policy": {"enum": ["Delete", "Retain"]}, "source": {"type": "string"}, "size": {"type": "string"},
"list": {"type": "array", "items": {"enum": ["a", "b"]}}, "labels": {"type": "object"}}}`
	values := map[string]any{
		"replicas": 3.0, "policy": "Retain", "source": "mysql://u:p@h/db", "size": "5Gi", "list": []any{"a", "x"},
		"labels": map[string]any{"team": "shop"}, "unknown": map[string]any{"password": "p", "on": true},
	}
	want := map[string]any{
		"replicas": 3.0, "policy": "Retain", "source": redacted, "size": "5Gi", "list": []any{"a", redacted},
		"labels": map[string]any{"team": redacted}, "unknown": map[string]any{"password": redacted, "on": true},
	}
	parsed := map[string]any{}
	if err := json.Unmarshal([]byte(schema), &parsed); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, redactValues(values, map[string]any{"size": "5Gi"}, parsed)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
