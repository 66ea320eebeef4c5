package definitions

import (
	"context"
	"errors"
	"slices"
	"strings"
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
	version := func(name string, served, storage bool) apiextensionsv1.CustomResourceDefinitionVersion {
		return apiextensionsv1.CustomResourceDefinitionVersion{Name: name, Served: served, Storage: storage}
	}
	edited := func(change func(*apiextensionsv1.CustomResourceDefinition)) []runtime.Object {
		first := all[0].DeepCopy()
		change(first)
		return []runtime.Object{first, all[1], all[2]}
	}
	tests := map[string]struct {
		reason string
		before []runtime.Object
		want   []string // the writes
		// kept are the versions that are added to those of Sublet.
		kept []apiextensionsv1.CustomResourceDefinitionVersion
	}{
		"New":  {reason: "a new store has none", want: []string{"create", "create", "create"}},
		"Same": {reason: "a restart writes nothing", before: []runtime.Object{all[0], all[1], all[2]}},
		"Outdated": {
			reason: "an upgrade replaces those of an earlier version", want: []string{"update"},
			before: edited(func(d *apiextensionsv1.CustomResourceDefinition) {
				d.Annotations[labels.Definition], d.Annotations["mine"] = "earlier", "stays"
				d.Spec.Names.ShortNames = []string{"old"}
			}),
		},
		"Forged": {
			reason: "a mark of the tenant keeps nothing", want: []string{"update"},
			before: edited(func(d *apiextensionsv1.CustomResourceDefinition) { d.Spec.Versions[0].Schema = nil }),
		},
		"Stored": {
			reason: "an API server refuses to lose a version that objects are stored in", want: []string{"update"},
			before: edited(func(d *apiextensionsv1.CustomResourceDefinition) {
				d.Spec.Versions = append(d.Spec.Versions, version("v1beta1", true, true), version("v1alpha1", true, false))
				d.Spec.Versions[0].Storage = false
				d.Status.StoredVersions = []string{"v1beta1", "v1"}
			}),
			kept: []apiextensionsv1.CustomResourceDefinitionVersion{version("v1beta1", false, false)},
		},
		"Converted": {
			reason: "no webhook of the tenant converts", want: []string{"update"},
			before: edited(func(d *apiextensionsv1.CustomResourceDefinition) {
				d.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter}
			}),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := fake.NewClientset(test.before...)
			keeper := &Keeper{Client: client.ApiextensionsV1().CustomResourceDefinitions(), Definitions: all, Clock: clocktesting.NewFakeClock(time.Time{})}
			if err := keeper.write(t.Context()); err != nil {
				t.Fatal(err)
			}
			if writes := writesOf(client); !slices.Equal(writes, test.want) {
				t.Errorf("%s: wrote %v, want %v", test.reason, writes, test.want)
			}
			got, err := keeper.Client.Get(t.Context(), all[0].Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			want := all[0].Spec.DeepCopy()
			want.Versions = append(want.Versions, test.kept...)
			if diff := cmp.Diff(*want, got.Spec); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.reason, diff)
			}
			if name == "Outdated" && got.Annotations["mine"] != "stays" {
				t.Error("annotations of others must stay")
			}
		})
	}
}

// writesOf returns the verbs of the requests that write.
func writesOf(client *fake.Clientset) []string {
	var writes []string
	for _, action := range client.Actions() {
		if action.GetVerb() != "get" {
			writes = append(writes, action.GetVerb())
		}
	}
	return writes
}

// TestKeeperAwaitsDeletion tries again while a definition is being deleted, because it is missing after that.
func TestKeeperAwaitsDeletion(t *testing.T) {
	t.Parallel()
	all := snapshots(t)
	terminating := all[0].DeepCopy()
	terminating.DeletionTimestamp, terminating.Finalizers = &metav1.Time{Time: time.Unix(1, 0)}, []string{"example.com/tenant"}
	client := fake.NewClientset(terminating, all[1], all[2])
	keeper := &Keeper{Client: client.ApiextensionsV1().CustomResourceDefinitions(), Definitions: all, Clock: clocktesting.NewFakeClock(time.Time{})}
	if err := keeper.write(t.Context()); err == nil || !strings.Contains(err.Error(), "it is being deleted") {
		t.Errorf("got %v", err)
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
