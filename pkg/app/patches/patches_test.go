package patches

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/patch"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// TestBuiltinTypes compares the types that patches are compiled for with those of the kinds.
func TestBuiltinTypes(t *testing.T) {
	t.Parallel()
	for _, row := range kinds.Table() {
		with, _ := row.Kinds()
		want := with[0].NewVirtual()
		got, ok := patch.BuiltinObject(row.Setting)
		if !ok {
			t.Errorf("%s: patches of the kind are not compiled", row.Setting)
		}
		if _, ok := want.(*unstructured.Unstructured); ok {
			if got != nil {
				t.Errorf("%s: has no type, got %T", row.Setting, got)
			}
			continue
		}
		if reflect.TypeOf(want) != reflect.TypeOf(got) {
			t.Errorf("%s: want %T, got %T", row.Setting, want, got)
		}
	}
}

// sync returns settings with patches of one kind.
func sync(setting string, patches ...v1alpha1.Patch) *v1alpha1.Sync {
	return &v1alpha1.Sync{Kinds: map[string]v1alpha1.KindSettings{setting: {Enabled: true, Patches: patches}}}
}

func TestNew(t *testing.T) {
	t.Parallel()
	_, err := New(sync("sync.toHost.pods", v1alpha1.Patch{Path: "spec.hostnam", Expression: "val"}, v1alpha1.Patch{Path: "spec.hostname", Expression: "value +\n val"}))
	want := `sync.toHost.pods.patches[1].expression: Invalid value: "value +\n val": line 2, column 2: undeclared reference to 'val' (in container '')`
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "sync.toHost.pods.patches[0].path: ") {
		t.Errorf("want %s\n got %v", want, err)
	}
	if _, err := New(sync("sync.toHost.pods", v1alpha1.Patch{Path: "spec.hostname", Expression: "value"})); err != nil {
		t.Error(err)
	}
}

// TestForKind patches both sides of kinds of both owners.
func TestForKind(t *testing.T) {
	t.Parallel()
	set, problems := patch.Compile([]v1alpha1.Patch{
		{Path: "data[*]", Expression: `"x-" + value`}, {Path: `metadata.labels["team"]`, Expression: "name"}, {Path: "status", Reverse: `{"a": "b"}`},
	}, patch.Options{Setting: "sync.toHost.configMaps"})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	scope := syncer.Scope{Context: context.Background(), Cluster: translate.Cluster{UID: "u"}}
	configMap := func(name, value string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"k": value}}
	}
	down := ForKind(set, syncer.Virtual)
	original, copied := configMap("one", "v"), configMap("host", "translated")
	if err := down(scope, syncer.PatchRequest{Side: syncer.Host, Original: original, Copy: copied}); err != nil {
		t.Fatal(err)
	}
	if copied.Data["k"] != "x-v" || copied.Labels["team"] != "one" || copied.Annotations[labels.Patched] == "" {
		t.Errorf("want a patched copy, got %v", copied)
	}
	// The host has changed the value, and the kind has left it.
	before := copied.DeepCopy()
	before.Data["k"] = "of the host"
	again := before.DeepCopy()
	if err := down(scope, syncer.PatchRequest{Side: syncer.Host, Original: original, Copy: again, Before: before}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, again); diff != "" {
		t.Errorf("a second reconcile must change nothing (-want +got):\n%s", diff)
	}
	up := configMap("one", "v")
	if err := down(scope, syncer.PatchRequest{Side: syncer.Virtual, Original: copied, Copy: up}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(configMap("one", "v"), up); diff != "" {
		t.Errorf("a virtual original gets nothing but the reverse ones (-want +got):\n%s", diff)
	}
	shown := configMap("shown", "v")
	if err := ForKind(set, syncer.Host)(scope, syncer.PatchRequest{Side: syncer.Virtual, Original: configMap("host", "v"), Copy: shown}); err != nil {
		t.Fatal(err)
	}
	if shown.Data["k"] != "x-v" || shown.Labels["team"] != "shown" || shown.Annotations != nil {
		t.Errorf("want a patched virtual copy, got %v", shown)
	}
	host := configMap("host", "v")
	if err := ForKind(set, syncer.Host)(scope, syncer.PatchRequest{Side: syncer.Host, Original: shown, Copy: host}); err != nil || host.Data["k"] != "v" {
		t.Errorf("an original of the host must stay, got %v %v", host, err)
	}
}

// TestUndo takes the last patch of a kind out of the settings. What it has written goes from a copy on
// the host, and what others have there stays.
func TestUndo(t *testing.T) {
	t.Parallel()
	set, problems := patch.Compile([]v1alpha1.Patch{{Path: `metadata.annotations["pool"]`, Expression: `"fast"`}}, patch.Options{Setting: "sync.toHost.services"})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	scope := syncer.Scope{Context: context.Background(), Cluster: translate.Cluster{UID: "u"}}
	original := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	copied := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "host", Annotations: map[string]string{"theirs": "stays"}}}
	if err := ForKind(set, syncer.Virtual)(scope, syncer.PatchRequest{Side: syncer.Host, Original: original, Copy: copied}); err != nil {
		t.Fatal(err)
	}
	if copied.Annotations["pool"] != "fast" {
		t.Fatalf("want a patched copy, got %v", copied)
	}
	if err := undo(scope, syncer.PatchRequest{Side: syncer.Host, Original: original, Copy: copied, Before: copied.DeepCopy()}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"theirs": "stays"}, copied.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
}

// TestUndoNextToReverse takes the last patch of copies out of the settings of a kind that still has one of
// what comes back. What was written goes from the copy in the same way.
func TestUndoNextToReverse(t *testing.T) {
	t.Parallel()
	set, problems := patch.Compile([]v1alpha1.Patch{{Path: "status.phase", Reverse: `"Bound"`}}, patch.Options{Setting: "sync.toHost.services"})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	scope := syncer.Scope{Context: context.Background(), Cluster: translate.Cluster{UID: "u"}}
	original := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	fresh := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "host"}}
	patched, undone := fresh.DeepCopy(), fresh.DeepCopy()
	earlier, _ := patch.Compile([]v1alpha1.Patch{{Path: `metadata.annotations["pool"]`, Expression: `"fast"`}}, patch.Options{Setting: "sync.toHost.services"})
	if err := ForKind(earlier, syncer.Virtual)(scope, syncer.PatchRequest{Side: syncer.Host, Original: original, Copy: patched}); err != nil {
		t.Fatal(err)
	}
	undone.Annotations = maps.Clone(patched.Annotations)
	for _, before := range []*corev1.Service{nil, fresh, patched} {
		request := syncer.PatchRequest{Side: syncer.Host, Original: original, Copy: undone}
		if before != nil {
			request.Before = before
		}
		if err := ForKind(set, syncer.Virtual)(scope, request); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(map[string]string(nil), undone.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
}

// TestPatched leaves kinds without patches, and the further kinds of a row, as they are.
func TestPatched(t *testing.T) {
	t.Parallel()
	changes, err := New(sync("sync.toHost.secrets", v1alpha1.Patch{Path: "type", Expression: `"Opaque"`}))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range kinds.Table() {
		with, _ := row.Kinds()
		if got := changes.Patched(row, slices.Clone(with)); len(got) != len(with) || got[0].Name() != with[0].Name() {
			t.Errorf("%s: want the same kinds, got %v", row.Setting, got)
		}
	}
}

// TestPatchedEvents patches the Events of the host. Events about snapshots are a further kind of another row, and
// have the same patches.
func TestPatchedEvents(t *testing.T) {
	t.Parallel()
	changes, err := New(sync("sync.fromHost.events", v1alpha1.Patch{Path: "source.host", Expression: `"hidden"`}))
	if err != nil {
		t.Fatal(err)
	}
	var patched []string
	for _, row := range kinds.Table() {
		on, off := row.Kinds()
		for _, kind := range slices.Concat(changes.Patched(row, on), changes.Patched(row, off)) {
			_, isEvent := kind.NewVirtual().(*corev1.Event)
			hasPatch := !reflect.ValueOf(kind).FieldByName("patch").IsNil()
			if hasPatch != isEvent {
				t.Errorf("%s: want a patch %t, got %t", kind.Name(), isEvent, hasPatch)
			}
			if hasPatch {
				patched = append(patched, kind.Name())
			}
		}
	}
	if diff := cmp.Diff([]string{"snapshotevents", "events"}, patched); diff != "" {
		t.Errorf("kinds with patches (-want +got):\n%s", diff)
	}
}
