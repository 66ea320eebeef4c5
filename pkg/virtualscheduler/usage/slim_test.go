package usage

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// secretValue is in every field of a pod that nobody needs.
const secretValue = "s3cret"

// newSecretive returns a pod of somebody else with secrets wherever a pod may have one.
func newSecretive(name string) *corev1.Pod {
	always := corev1.ContainerRestartPolicyAlways
	container := corev1.Container{
		Name: "main", Image: secretValue, Command: []string{secretValue}, Args: []string{secretValue},
		Env:       []corev1.EnvVar{{Name: "TOKEN", Value: secretValue}},
		Resources: corev1.ResourceRequirements{Requests: list("cpu", "250m", "example.com/gpu", "1"), Limits: list("cpu", "1")},
		LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			HTTPHeaders: []corev1.HTTPHeader{{Name: "Authorization", Value: secretValue}},
		}}},
	}
	sidecar := *container.DeepCopy()
	sidecar.Name, sidecar.RestartPolicy = "sidecar", &always
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "others", Name: name, ResourceVersion: "7", UID: secretValue, Labels: map[string]string{"a": secretValue},
			Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: secretValue, metav1.InitialEventsAnnotationKey: "true"},
		},
		Spec: corev1.PodSpec{
			NodeName: "node-1", Containers: []corev1.Container{container}, InitContainers: []corev1.Container{sidecar},
			Overhead: list("memory", "64Mi"), Resources: &corev1.ResourceRequirements{Requests: list("memory", "1Gi")},
			Volumes: []corev1.Volume{{Name: secretValue}}, HostAliases: []corev1.HostAlias{{IP: secretValue}},
			EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: secretValue}}},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, Message: secretValue, PodIP: secretValue,
			Conditions: []corev1.PodCondition{{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: corev1.PodReasonInfeasible, Message: secretValue}},
			ContainerStatuses: []corev1.ContainerStatus{{
				Name: "main", Image: secretValue, AllocatedResources: list("cpu", "500m"),
				Resources: &corev1.ResourceRequirements{Requests: list("cpu", "750m")},
				State:     corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: secretValue}},
			}},
			AllocatedResources: list("memory", "2Gi"), Resources: &corev1.ResourceRequirements{Requests: list("memory", "2Gi")},
		},
	}
}

// encode returns an object as the host sends it.
func encode(t *testing.T, o runtime.Object) []byte {
	t.Helper()
	var data bytes.Buffer
	if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(o, &data); err != nil {
		t.Fatal(err)
	}
	return data.Bytes()
}

func TestSlimObject(t *testing.T) {
	t.Parallel()
	full := newSecretive("a")
	data, err := slimObject(encode(t, full))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(secretValue)) {
		t.Errorf("a value that nobody needs passes: %q", data)
	}
	var slim corev1.Pod
	if _, _, err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Decode(data, nil, &slim); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(shareOf(full), shareOf(&slim), cmp.Comparer(equalShare)); diff != "" {
		t.Errorf("the sum of the requests (-full +slim):\n%s", diff)
	}
	if slim.Name != "a" || slim.Namespace != "others" || slim.ResourceVersion != "7" || slim.Annotations[metav1.InitialEventsAnnotationKey] != "true" {
		t.Errorf("what the watch needs is missing: %v", slim.ObjectMeta)
	}
	for cut := range data {
		// Half a message must be an error, never a panic.
		_, _ = slimObject(encode(t, full)[:cut])
	}
	other := encode(t, &metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Message: "expired"})
	if got, err := slimObject(other); err != nil || !bytes.Equal(got, other) {
		t.Errorf("an object of another kind must stay as it is: %q, %v", got, err)
	}
}

// TestForeignFromServer lists from a server that sends pods whole.
func TestForeignFromServer(t *testing.T) {
	t.Parallel()
	pods := &corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, ListMeta: metav1.ListMeta{ResourceVersion: "9"}}
	pods.Items = []corev1.Pod{*newSecretive("a"), *newSecretive("b")}
	body := encode(t, pods)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if accepted := r.Header.Get("Accept"); !strings.HasPrefix(accepted, runtime.ContentTypeProtobuf) || strings.Contains(accepted, "json") {
			t.Errorf("the client must accept protobuf alone: %s", accepted)
		}
		if r.URL.Query().Get("watch") != "" {
			http.Error(w, "no watch here", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", runtime.ContentTypeProtobuf)
		_, _ = w.Write(body)
	}))
	defer server.Close()
	known := make(chan string, 8)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	u := New(Options{
		Host: &rest.Config{Host: server.URL, Transport: transport, ContentConfig: rest.ContentConfig{GroupVersion: &schema.GroupVersion{}}}, Cluster: "mine",
		Changed: func(node string) { known <- node },
	})
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- u.Run(ctx) }()
	u.Foreign("node-1", nil)
	for got := int64(0); got != 2; {
		// A large change is published soon after the first list.
		select {
		case <-known:
			pods, _ := u.Foreign("node-1", nil)
			got = pods.Pods().Value()
		case <-ctx.Done():
			t.Fatalf("two pods are on the node, got %d", got)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
