package controlplane

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/client/v3/kubernetes"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
)

// keptWrites is a store with one object.
type keptWrites struct {
	countedWrites
	stored []byte
}

func (k *keptWrites) Get(context.Context, string, kubernetes.GetOptions) (kubernetes.GetResponse, error) {
	return kubernetes.GetResponse{KV: &mvccpb.KeyValue{Value: k.stored}}, nil
}

// TestShortMemory writes objects while memory is short.
func TestShortMemory(t *testing.T) {
	t.Parallel()
	controller, bootstrap := loopback.Caller{User: &user.DefaultInfo{}}, loopback.Caller{User: &user.DefaultInfo{}, SkipsTenantAdmission: true}
	for name, tc := range map[string]struct {
		reason   string
		caller   *loopback.Caller // nil for the tenant
		plenty   bool
		size     int
		revision int64
		denied   bool
	}{
		"Create":           {reason: "a new object takes more", size: 10, denied: true},
		"CreateWithPlenty": {reason: "there is memory", plenty: true, size: 10},
		"Grow":             {reason: "a larger object takes more", size: 9000, revision: 7, denied: true},
		"Shrink":           {reason: "a smaller one takes less", size: 2000, revision: 7},
		"Delete":           {reason: "a delete with finalizers writes the object with a time", size: 4100, revision: 7},
		"Controller":       {reason: "controllers create for the tenant", caller: &controller, size: 10, denied: true},
		"Status":           {reason: "and write what is so", caller: &controller, size: 9000, revision: 7},
		"ControlPlane":     {reason: "a start creates what is missing", caller: &bootstrap, size: 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := &keptWrites{stored: make([]byte, 4000)}
			write := func(ctx context.Context) error {
				limited := memoryLimitedWrites{Interface: store, isShort: func() bool { return !tc.plenty }, growths: &growths{}}
				_, err := limited.OptimisticPut(ctx, "key", make([]byte, tc.size), tc.revision, kubernetes.PutOptions{})
				return err
			}
			var err error
			if tc.caller == nil {
				err = write(t.Context())
			} else {
				err = callAs(t, *tc.caller, write)
			}
			if status, ok := err.(apierrors.APIStatus); tc.denied != (err != nil) || err != nil && (!ok || status.Status().Code != http.StatusInsufficientStorage) {
				t.Errorf("%s: got %v", tc.reason, err)
			}
			if passed := store.count > 0; passed == tc.denied {
				t.Errorf("%s: written: %t", tc.reason, passed)
			}
		})
	}
}

// TestGrowthInSteps lets an object grow a little with each update while memory is short.
func TestGrowthInSteps(t *testing.T) {
	t.Parallel()
	isShort := true
	store := &keptWrites{stored: make([]byte, 4000)}
	limited := memoryLimitedWrites{Interface: store, isShort: func() bool { return isShort }, growths: &growths{}}
	grow := func(ctx context.Context, bytes int) error {
		next := make([]byte, len(store.stored)+bytes)
		_, err := limited.OptimisticPut(ctx, "key", next, 7, kubernetes.PutOptions{})
		if err == nil {
			store.stored = next
		}
		return err
	}
	steps := 0
	for steps < 10 && grow(t.Context(), 1000) == nil {
		steps++
	}
	if steps != 1 {
		t.Errorf("it has grown by 1,000 bytes %d times, want once", steps)
	}
	if err := grow(t.Context(), 0); err != nil {
		t.Errorf("an update of the same size: %v", err)
	}
	deleting := request.WithRequestInfo(t.Context(), &request.RequestInfo{IsResourceRequest: true, Verb: "delete"})
	if err := grow(deleting, 100); err != nil {
		t.Errorf("a delete: %v", err)
	}
	for key := range 2 * maxGrowths {
		limited.growths.allow(fmt.Sprint(key), 2000, 2100)
	}
	if count := len(limited.growths.before); count != maxGrowths {
		t.Errorf("%d objects have grown, want %d", count, maxGrowths)
	}
	isShort = false
	if err := grow(t.Context(), 5000); err != nil {
		t.Errorf("with plenty of memory: %v", err)
	}
	isShort = true
	if err := grow(t.Context(), 1000); err != nil {
		t.Errorf("after that, when memory is short again: %v", err)
	}
}

// TestShortMemoryOfChanges changes objects that expand in memory while it is short.
func TestShortMemoryOfChanges(t *testing.T) {
	t.Parallel()
	definitions, maps := apiextensionsv1.Resource("customresourcedefinitions"), corev1.Resource("configmaps")
	levels, policies := flowcontrolv1.Resource("prioritylevelconfigurations"), admissionregistrationv1.Resource("validatingadmissionpolicies")
	controller := loopback.Caller{User: &user.DefaultInfo{}}
	for name, tc := range map[string]struct {
		reason     string
		caller     *loopback.Caller // nil for the tenant
		resource   schema.GroupResource
		generation int64 // that of the stored object is 1
		plenty     bool
		denied     bool
	}{
		"Definition":           {reason: "a version that is served takes more", resource: definitions, generation: 2, denied: true},
		"Level":                {reason: "so do a thousand queues", resource: levels, generation: 2, denied: true},
		"Policy":               {reason: "and other expressions", resource: policies, generation: 2, denied: true},
		"DefinitionWithPlenty": {reason: "there is memory", resource: definitions, generation: 2, plenty: true},
		"Finalizer":            {reason: "a delete must end", resource: definitions, generation: 1},
		"ConfigMap":            {reason: "its size says what it takes", resource: maps, generation: 2},
		"Controller":           {reason: "controllers keep what is so", caller: &controller, resource: definitions, generation: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object := func(generation int64) *metav1.PartialObjectMetadata {
				return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "one", Generation: generation}}
			}
			attributes := admission.NewAttributesRecord(object(tc.generation), object(1), schema.GroupVersionKind{}, "", "one",
				tc.resource.WithVersion("v1"), "", admission.Update, &metav1.UpdateOptions{}, false, nil)
			validate := func(ctx context.Context) error {
				return memoryGuard{func() bool { return !tc.plenty }}.Validate(ctx, attributes, nil)
			}
			var err error
			if tc.caller == nil {
				err = validate(t.Context())
			} else {
				err = callAs(t, *tc.caller, validate)
			}
			if status, ok := err.(apierrors.APIStatus); tc.denied != (err != nil) || err != nil && (!ok || status.Status().Code != http.StatusInsufficientStorage) {
				t.Errorf("%s: got %v", tc.reason, err)
			}
		})
	}
}
