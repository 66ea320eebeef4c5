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
	terminating := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: new(metav1.Now())}}
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
