package definitions

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/fake"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/api/labels"
)

// snapshots returns the definitions of snapshots.
func snapshots(t *testing.T) []*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	all, err := Snapshots()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSnapshots(t *testing.T) {
	t.Parallel()
	got := map[string]apiextensionsv1.ResourceScope{}
	for _, definition := range snapshots(t) {
		got[definition.Name] = definition.Spec.Scope
		if len(definition.Spec.Versions) != 1 || definition.Spec.Versions[0].Name != "v1" || !definition.Spec.Versions[0].Storage {
			t.Errorf("%s must have v1 alone", definition.Name)
		}
		if definition.Annotations[labels.Definition] == "" {
			t.Errorf("%s must have its digest", definition.Name)
		}
	}
	want := map[string]apiextensionsv1.ResourceScope{
		"volumesnapshots.snapshot.storage.k8s.io":        apiextensionsv1.NamespaceScoped,
		"volumesnapshotcontents.snapshot.storage.k8s.io": apiextensionsv1.ClusterScoped,
		"volumesnapshotclasses.snapshot.storage.k8s.io":  apiextensionsv1.ClusterScoped,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("definitions (-want +got):\n%s", diff)
	}
}

// TestKeeper writes the definitions over what a store may have.
func TestKeeper(t *testing.T) {
	t.Parallel()
	all := snapshots(t)
	edited := all[0].DeepCopy()
	edited.Annotations[labels.Definition] = "earlier"
	edited.Annotations["mine"] = "stays"
	edited.Spec.Names.ShortNames = []string{"old"}
	tests := map[string]struct {
		reason string
		before []runtime.Object
		want   []string // the writes
	}{
		"New":      {"a new store has none", nil, []string{"create", "create", "create"}},
		"Same":     {"a restart writes nothing", []runtime.Object{all[0], all[1], all[2]}, nil},
		"Outdated": {"an upgrade replaces those of an earlier version", []runtime.Object{edited, all[1], all[2]}, []string{"update"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := fake.NewClientset(test.before...)
			keeper := &Keeper{Client: client.ApiextensionsV1().CustomResourceDefinitions(), Definitions: all, Clock: clocktesting.NewFakeClock(time.Time{})}
			if err := keeper.write(t.Context()); err != nil {
				t.Fatal(err)
			}
			var writes []string
			for _, action := range client.Actions() {
				if action.GetVerb() != "get" {
					writes = append(writes, action.GetVerb())
				}
			}
			if !slices.Equal(writes, test.want) {
				t.Errorf("%s: wrote %v, want %v", test.reason, writes, test.want)
			}
			got, err := keeper.Client.Get(t.Context(), all[0].Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(all[0].Spec, got.Spec); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.reason, diff)
			}
			if name == "Outdated" && got.Annotations["mine"] != "stays" {
				t.Error("annotations of others must stay")
			}
		})
	}
}

// TestKeeperRetries lets the API server fail once.
func TestKeeperRetries(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset()
	failed := false
	client.PrependReactor("create", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		if failed {
			return false, nil, nil
		}
		failed = true
		return true, nil, errors.New("not yet")
	})
	clock := clocktesting.NewFakeClock(time.Time{})
	keeper := &Keeper{Client: client.ApiextensionsV1().CustomResourceDefinitions(), Definitions: snapshots(t), Clock: clock}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- keeper.Run(ctx) }()
	written := func() bool {
		list, err := keeper.Client.List(t.Context(), metav1.ListOptions{})
		return err == nil && len(list.Items) == len(keeper.Definitions)
	}
	for !written() {
		if t.Context().Err() != nil {
			t.Fatal("the definition was not tried again")
		}
		if clock.HasWaiters() {
			clock.Step(lastRetry)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
