package admission

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/sublet-dev/sublet/pkg/policy"
)

// internalUserKey is the context key of requests from within the process, in tests.
type internalUserKey struct{}

// request returns the attributes of a request for an object named cart. The user claims to
// be one of the control plane's own.
func request(operation admission.Operation, resource schema.GroupVersionResource, subresource string, old *corev1.ConfigMap) admission.Attributes {
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "cart"}}
	kind := schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
	who := &user.DefaultInfo{Name: "system:sublet:syncer", Groups: []string{"system:masters"}}
	if old == nil {
		return admission.NewAttributesRecord(object, nil, kind, "web", "cart", resource, subresource, operation, nil, false, who)
	}
	return admission.NewAttributesRecord(object, old, kind, "web", "cart", resource, subresource, operation, nil, false, who)
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	core := func(resource string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Version: "v1", Resource: resource}
	}
	reviews := schema.GroupVersionResource{Group: "authorization.k8s.io", Version: "v1", Resource: "selfsubjectaccessreviews"}
	leases := schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
	existing := &corev1.ConfigMap{}
	terminating := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "cart", DeletionTimestamp: new(metav1.Now())}}
	const controller = "system:serviceaccount:kube-system:replicaset-controller"
	for _, c := range []struct {
		reason   string
		internal string
		request  admission.Attributes
		denied   bool
	}{
		{"a tenant creates nothing, whatever name they claim", "", request(admission.Create, core("configmaps"), "", nil), true},
		{"a tenant updates nothing", "", request(admission.Update, core("configmaps"), "", existing), true},
		{"no subresource either", "", request(admission.Update, core("pods"), "resize", existing), true},
		{"a token is a new permission", "", request(admission.Create, core("serviceaccounts"), "token", nil), true},
		{"an Event of a tenant takes room", "", request(admission.Create, core("events"), "", nil), true},
		{"a lease of a tenant too", "", request(admission.Update, leases, "", existing), true},
		{"a session is more than a read", "", request(admission.Connect, core("pods"), "exec", nil), true},
		{"a proxy too", "", request(admission.Connect, core("services"), "proxy", nil), true},
		{"a review is a read", "", request(admission.Create, reviews, "", nil), false},
		{"an eviction is a delete", "", request(admission.Create, core("pods"), "eviction", nil), false},
		{"a finalizer goes with its object", "", request(admission.Update, core("configmaps"), "", terminating), false},
		{"nobody resizes a pod that is being deleted", "", request(admission.Update, core("pods"), "resize", terminating), true},
		{"a controller creates no pods", controller, request(admission.Create, core("pods"), "", nil), true},
		{"a controller updates status", controller, request(admission.Update, core("pods"), "status", existing), false},
		{"a controller removes owner references", controller, request(admission.Update, core("configmaps"), "", existing), false},
		{"a controller records Events", controller, request(admission.Create, core("events"), "", nil), false},
		{"a controller holds leases", controller, request(admission.Create, leases, "", nil), false},
		{"the syncer writes as ever", "system:sublet:syncer", request(admission.Create, core("nodes"), "", nil), false},
	} {
		ctx := context.WithValue(t.Context(), internalUserKey{}, c.internal)
		plugin := ReadOnly(ReadOnlyOptions{InternalUser: func(ctx context.Context) (string, bool) {
			name, _ := ctx.Value(internalUserKey{}).(string)
			return name, name != ""
		}}).(*readOnlyPlugin)
		for phase, err := range map[string]error{"Admit": plugin.Admit(ctx, c.request, nil), "Validate": plugin.Validate(ctx, c.request, nil)} {
			if (err != nil) != c.denied {
				t.Errorf("%s: %s returns %v", c.reason, phase, err)
			}
		}
	}
}

// TestReadOnlyEnd checks what a tenant may change of an object that is being deleted. With a finalizer of theirs it
// would otherwise stay writable for ever, and its copy on the host too.
func TestReadOnlyEnd(t *testing.T) {
	t.Parallel()
	now := metav1.Now()
	deleted := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "web", Name: "cart", UID: "u", ResourceVersion: "7", Generation: 2, CreationTimestamp: now, DeletionTimestamp: &now,
			DeletionGracePeriodSeconds: new(int64(0)), Finalizers: []string{"example.com/a", "example.com/b"},
			OwnerReferences: []metav1.OwnerReference{{Name: "set"}}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "cart", Image: "cart:1"}}},
	}
	for _, c := range []struct {
		reason, subresource string
		change              func(pod *corev1.Pod)
		denied              bool
	}{
		{"nothing", "", func(*corev1.Pod) {}, false},
		{"one finalizer", "", func(p *corev1.Pod) { p.Finalizers, p.ResourceVersion, p.Generation = p.Finalizers[:1], "", 3 }, false},
		{"all, with fields that the API server fills in", "", func(p *corev1.Pod) {
			p.ObjectMeta = metav1.ObjectMeta{Namespace: "web", Name: "cart", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "curl"}}}
		}, false},
		{"an owner", "", func(p *corev1.Pod) { p.OwnerReferences = nil }, false},
		{"the spec", "", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "cart:2" }, true},
		{"the spec next to a finalizer", "", func(p *corev1.Pod) { p.Finalizers, p.Spec.Containers[0].Image = nil, "cart:2" }, true},
		{"a label", "", func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }, true},
		{"an annotation", "", func(p *corev1.Pod) { p.Annotations = map[string]string{"a": "b"} }, true},
		{"the status", "status", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }, false},
		{"a label next to the status", "status", func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }, true},
		{"the end of a namespace", "finalize", func(p *corev1.Pod) { p.Finalizers = nil }, false},
		{"a label next to that", "finalize", func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b"} }, true},
		{"its size", "resize", func(*corev1.Pod) {}, true},
		{"a debug container", "ephemeralcontainers", func(*corev1.Pod) {}, true},
		{"its scale", "scale", func(*corev1.Pod) {}, true},
	} {
		old, object := deleted.DeepCopy(), deleted.DeepCopy()
		c.change(object)
		for what, pair := range map[string][2]runtime.Object{"typed": {object, old}, "unstructured": {toUnstructured(t, object), toUnstructured(t, old)}} {
			unchanged := pair[1].DeepCopyObject()
			a := admission.NewAttributesRecord(pair[0], pair[1], schema.GroupVersionKind{Version: "v1", Kind: "Pod"}, "web", "cart",
				schema.GroupVersionResource{Version: "v1", Resource: "pods"}, c.subresource, admission.Update, nil, false, &user.DefaultInfo{Name: "admin"})
			if err := ReadOnly(ReadOnlyOptions{}).(*readOnlyPlugin).Admit(t.Context(), a, nil); (err != nil) != c.denied {
				t.Errorf("%s of a %s object: %v, want a denial: %t", c.reason, what, err, c.denied)
			}
			if diff := cmp.Diff(unchanged, pair[1]); diff != "" {
				t.Errorf("%s of a %s object: the stored object has changed (-want +got):\n%s", c.reason, what, diff)
			}
		}
	}
}

// toUnstructured converts an object into one of a custom resource.
func toUnstructured(t *testing.T, object runtime.Object) runtime.Object {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: content}
}

// equalDenial compares an error with the text in testdata/denials that a tenant reads.
func equalDenial(t *testing.T, name string, err error) {
	t.Helper()
	file := filepath.Join("testdata", "denials", name+".txt")
	got := ""
	if err != nil {
		got = err.Error()
	}
	if *updateGolden {
		if err := os.WriteFile(file, []byte(got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, readErr := os.ReadFile(file)
	if readErr != nil {
		t.Fatal(readErr)
	}
	if diff := cmp.Diff(strings.TrimSpace(string(want)), got); diff != "" {
		t.Errorf("denial %s (-want +got):\n%s", name, diff)
	}
}

func TestReadOnlyMessage(t *testing.T) {
	t.Parallel()
	plugin := ReadOnly(ReadOnlyOptions{}).(*readOnlyPlugin)
	err := plugin.Admit(t.Context(), request(admission.Create, schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, "", nil), nil)
	equalDenial(t, "read-only-create", err)
}

func TestLimitsMirrorIsDenied(t *testing.T) {
	t.Parallel()
	configMaps := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	kind := schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
	mirror := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: limitsMirror}}
	who := &user.DefaultInfo{Name: "admin"}
	for _, c := range []struct {
		reason          string
		namespace, name string
		operation       admission.Operation
		denied          bool
	}{
		{"create", metav1.NamespaceSystem, limitsMirror, admission.Create, true},
		{"update", metav1.NamespaceSystem, limitsMirror, admission.Update, true},
		{"delete", metav1.NamespaceSystem, limitsMirror, admission.Delete, true},
		{"delete of the collection", metav1.NamespaceSystem, "", admission.Delete, true},
		{"the name in another namespace is free", "web", limitsMirror, admission.Create, false},
	} {
		var object, old runtime.Object
		if c.operation == admission.Delete {
			old = mirror
		} else {
			object = mirror
		}
		attributes := admission.NewAttributesRecord(object, old, kind, c.namespace, c.name, configMaps, "", c.operation, nil, false, who)
		decision, err := checkLimitsMirror(t.Context(), attributes, nil)
		if c.reason == "update" {
			equalDenial(t, "limits-mirror-update", errors.New(policy.Message(decision.Violations)))
		}
		if err != nil || (len(decision.Violations) > 0) != c.denied {
			t.Errorf("%s: %v, %v", c.reason, decision, err)
		}
	}
}
