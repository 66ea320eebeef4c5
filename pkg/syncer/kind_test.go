package syncer

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/translate"
)

func TestDefineSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	type resource = Resource[*corev1.ConfigMap, *corev1.ConfigMap]
	findOriginal := func(Scope, types.NamespacedName) (*corev1.ConfigMap, bool, error) { return nil, false, nil }
	tests := map[string]struct {
		reason string
		name   string
		r      resource
		want   []string // parts of the error
	}{
		"Complete":            {reason: "Names are enough.", name: "x", r: resource{Names: translate.Hashed}},
		"NoName":              {reason: "A kind is called something.", r: resource{Names: translate.Hashed}, want: []string{"needs a name"}},
		"NotFound":            {reason: "The host object must be found somehow.", name: "x", want: []string{"how its host objects are found", "which virtual object"}},
		"FindOriginalVirtual": {reason: "What goes down has a name.", name: "x", r: resource{Names: translate.Hashed, FindOriginal: findOriginal}, want: []string{"by name alone"}},
		"NoStarted":           {reason: "What ends must have started.", name: "x", r: resource{Names: translate.Hashed, EvictedWithCopy: true}, want: []string{"does not specify when"}},
		"GraceAlone":          {reason: "Only what ends with the host has one.", name: "x", r: resource{Names: translate.Hashed, LeastGrace: func(*corev1.ConfigMap) int64 { return 1 }}, want: []string{"least grace period"}},
		"AllAtOnce":           {reason: "All problems are told at once.", r: resource{Names: translate.Hashed, EvictedWithCopy: true}, want: []string{"needs a name", "does not specify when"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := Define(tc.name, tc.r).problem
			if (err != nil) != (len(tc.want) > 0) {
				t.Fatalf("%s Got %v", tc.reason, err)
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s Got %q, want %q in it", tc.reason, err, part)
				}
			}
		})
	}
}

func TestMissingObjectsAreNil(t *testing.T) {
	t.Parallel()
	var sawHost, sawVirtual bool
	k := Define("x", Resource[*corev1.Pod, *corev1.Secret]{
		Names: translate.Hashed,
		Want: func(_ Scope, virtual *corev1.Pod, host *corev1.Secret) (bool, error) {
			sawVirtual, sawHost = virtual != nil, host != nil
			return true, nil
		},
	})
	for _, tc := range []struct {
		virtual, host client.Object
	}{{&corev1.Pod{}, nil}, {nil, &corev1.Secret{}}} {
		if _, err := k.want(Scope{}, tc.virtual, tc.host); err != nil {
			t.Fatal(err)
		}
		if sawVirtual != (tc.virtual != nil) || sawHost != (tc.host != nil) {
			t.Errorf("Want must see a nil pointer for what is not there, saw virtual %t, host %t", sawVirtual, sawHost)
		}
	}
}

func TestEmptyObjects(t *testing.T) {
	t.Parallel()
	k := Define("x", Resource[*corev1.Pod, *unstructured.Unstructured]{
		Names: translate.Hashed,
		NewHost: func() *unstructured.Unstructured {
			return &unstructured.Unstructured{Object: map[string]any{"kind": "Thing"}}
		},
	})
	if _, ok := k.newVirtual().(*corev1.Pod); !ok {
		t.Errorf("An empty object must have the type of the kind, got %T", k.newVirtual())
	}
	if got := k.newHost().GetObjectKind().GroupVersionKind().Kind; got != "Thing" {
		t.Errorf("An empty object must be the one that the kind makes, got kind %q", got)
	}
}
