package kinds

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

var update = flag.Bool("update", false, "write the golden files anew")

// A golden case is testdata/<kind>/<case>.in.yaml, see [golden], and what becomes
// of it in <case>.out.yaml, see [outcome]. In the input, ${shop/web} stands for the
// name that the host copy of shop/web has.
type golden struct {
	// Reason says why the case is worth one.
	Reason string `json:"reason"`
	// Sync overrides the default settings.
	Sync json.RawMessage `json:"sync"`
	// VirtualScheduler runs one in the virtual cluster.
	VirtualScheduler bool `json:"virtualScheduler"`
	// Proposals are the nodes that it has in mind, by the UID of the pod.
	Proposals handed `json:"proposals"`
	// Virtual and Host are the two objects. One that is missing does not exist.
	Virtual json.RawMessage `json:"virtual"`
	Host    json.RawMessage `json:"host"`
	// InVirtual and InHost is what the caches hold beside them.
	InVirtual []json.RawMessage `json:"inVirtual"`
	InHost    []json.RawMessage `json:"inHost"`
}

// handed are proposals in memory.
type handed map[types.UID]string

func (h handed) Proposed(pod types.UID) string { return h[pod] }

// outcome is what the functions of a resource say about a case.
type outcome struct {
	// Key is the virtual object that a host object belongs to, "none" if it
	// belongs to none.
	Key string `json:"key,omitempty"`
	// Wanted says whether there is to be a copy.
	Wanted bool `json:"wanted"`
	// Also is what a change of each cached object requeues.
	Also []string `json:"also,omitempty"`
	// Down and Up are the copies.
	Down any `json:"down,omitempty"`
	Up   any `json:"up,omitempty"`
	// Last is the virtual copy once its host object is gone.
	Last any `json:"last,omitempty"`
}

// testCluster is the virtual cluster of every test.
func testCluster() translate.Cluster {
	return translate.Cluster{
		UID: "11111111-2222-3333-4444-555555555555", Name: "shop", Namespace: "tenant-shop",
		Anchor: metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "shop-anchor", UID: "11111111-2222-3333-4444-555555555555"},
	}
}

// testOptions is what the kinds know in tests.
func testOptions() Options {
	return Options{
		Sync:                   v1alpha1.Default(Settings()...).Sync,
		WorkloadServiceAccount: "shop-workload",
		KubernetesServiceIP:    "10.96.0.20",
		DNSServiceIP:           "10.96.0.21",
		ClusterDomain:          "cluster.local",
		KubeletVersion:         "v1.37.1",
	}
}

// goldenCases runs every case of one kind.
func goldenCases[V, H client.Object](t *testing.T, kind string, resource func(Options) syncer.Resource[V, H]) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", kind, "*.in.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden cases for kind %s: %v", kind, err)
	}
	for _, file := range files {
		t.Run(kind+"/"+strings.TrimSuffix(filepath.Base(file), ".in.yaml"), func(t *testing.T) {
			t.Parallel()
			goldenCase(t, file, resource)
		})
	}
}

func goldenCase[V, H client.Object](t *testing.T, file string, resource func(Options) syncer.Resource[V, H]) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	copies := map[string]types.NamespacedName{}
	text = regexp.MustCompile(`\$\{[^}]*\}`).ReplaceAllFunc(text, func(match []byte) []byte {
		namespace, name, _ := strings.Cut(string(match[2:len(match)-1]), "/")
		key := types.NamespacedName{Namespace: namespace, Name: name}
		host := translate.Hashed(testCluster(), key).Name
		copies[host] = key
		return []byte(host)
	})
	var in golden
	if err := yaml.UnmarshalStrict(text, &in); err != nil {
		t.Fatal(err)
	}
	if in.Reason == "" {
		t.Error("the case gives no reason")
	}
	options := testOptions()
	options.VirtualScheduler, options.Proposals = in.VirtualScheduler, in.Proposals
	if len(in.Sync) > 0 {
		if err := yaml.UnmarshalStrict(in.Sync, &options.Sync); err != nil {
			t.Fatal(err)
		}
	}
	run := newRun(t, resource(options), in, copies)
	checkGolden(t, strings.Replace(file, ".in.yaml", ".out.yaml", 1), run.outcome(t))
}

// run is one case on its way.
type run[V, H client.Object] struct {
	resource      syncer.Resource[V, H]
	scope         syncer.Scope
	virtual, host client.Object
	cached        map[syncer.Side][]client.Object
}

func newRun[V, H client.Object](t *testing.T, resource syncer.Resource[V, H], in golden, copies map[string]types.NamespacedName) *run[V, H] {
	t.Helper()
	r := &run[V, H]{resource: resource, cached: map[syncer.Side][]client.Object{}}
	for _, raw := range in.InVirtual {
		r.cached[syncer.Virtual] = append(r.cached[syncer.Virtual], decode(t, raw))
	}
	for _, raw := range in.InHost {
		r.cached[syncer.Host] = append(r.cached[syncer.Host], decode(t, raw))
	}
	if in.Virtual != nil {
		r.virtual = decode(t, in.Virtual)
		r.cached[syncer.Virtual] = append(r.cached[syncer.Virtual], r.virtual)
	}
	if in.Host != nil {
		r.host = decode(t, in.Host)
		r.cached[syncer.Host] = append(r.cached[syncer.Host], r.host)
	}
	for _, object := range r.cached[syncer.Host] {
		if key, ok := copies[object.GetName()]; ok {
			translate.Stamp(testCluster(), translate.Hashed, key, types.UID("uid-of-"+key.Name), object)
		}
		if object.GetUID() == "" {
			object.SetUID(types.UID("host-uid-of-" + object.GetName()))
		}
		if object.GetResourceVersion() == "" {
			object.SetResourceVersion("1")
		}
	}
	r.scope = syncer.Scope{
		Context: t.Context(), Cluster: testCluster(), Now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Virtual: newShelf(r.cached[syncer.Virtual], syncer.Virtual, resource.Indexes),
		Host:    newShelf(r.cached[syncer.Host], syncer.Host, resource.Indexes),
	}
	return r
}

func decode(t *testing.T, raw json.RawMessage) client.Object {
	t.Helper()
	object, err := runtime.Decode(scheme.Codecs.UniversalDeserializer(), raw)
	if err != nil {
		t.Fatalf("cannot read %s: %v", raw, err)
	}
	into, ok := object.(client.Object)
	if !ok {
		t.Fatalf("%T is no object", object)
	}
	into.GetObjectKind().SetGroupVersionKind(object.GetObjectKind().GroupVersionKind())
	return into
}

// outcome does what the engine does, in its order, and once more: a kind whose
// second look finds something to write would write for ever.
func (r *run[V, H]) outcome(t *testing.T) outcome {
	t.Helper()
	out := outcome{Also: r.also()}
	var virtual V
	var host H
	if r.virtual != nil {
		virtual = r.virtual.(V)
	}
	if r.host != nil {
		host = r.host.(H)
	}
	var key types.NamespacedName
	if r.resource.Owner == syncer.Host {
		key, out.Key, host = r.find(t, host)
		if out.Key == "none" {
			return out
		}
	}
	out.Wanted = true
	if r.resource.Want != nil {
		var err error
		if out.Wanted, err = r.resource.Want(r.scope, virtual, host); err != nil {
			t.Fatal(err)
		}
	}
	if !out.Wanted {
		return out
	}
	if r.resource.Down != nil {
		out.Down = r.twice(t, "Down", func(seen client.Object) client.Object { return r.down(t, virtual, seen) }, r.host)
	}
	if r.resource.Up != nil && r.host != nil {
		out.Up = r.twice(t, "Up", func(seen client.Object) client.Object { return r.up(t, key, host, seen) }, r.virtual)
	}
	if r.resource.BeforeDelete != nil && r.virtual != nil {
		out.Last = r.twice(t, "Last", func(seen client.Object) client.Object {
			last := newOf[V](seen)
			if err := r.resource.BeforeDelete(r.scope, last); err != nil {
				t.Fatal(err)
			}
			return last
		}, r.virtual)
	}
	return out
}

// find is what Origin and Source say.
func (r *run[V, H]) find(t *testing.T, host H) (types.NamespacedName, string, H) {
	t.Helper()
	key, ours := r.resource.Origin(r.scope, host)
	if !ours {
		return key, "none", host
	}
	if r.resource.Source != nil {
		source, found, err := r.resource.Source(r.scope, key)
		if err != nil || !found {
			t.Fatalf("Source(%s): %v, %v", key, found, err)
		}
		return key, key.String(), source
	}
	if r.resource.Select != nil && !r.resource.Select.Matches(apiLabels(host)) {
		return key, "none", host
	}
	if back := r.resource.Names(testCluster(), key); back.Name != host.GetName() {
		t.Errorf("virtual key %s leads to host object %s, not back to %s", key, back.Name, host.GetName())
	}
	return key, key.String(), host
}

// twice runs fill on seen and on what it made of it.
func (r *run[V, H]) twice(t *testing.T, name string, fill func(client.Object) client.Object, seen client.Object) any {
	t.Helper()
	first := fill(seen)
	second := fill(first.DeepCopyObject().(client.Object))
	if diff := cmp.Diff(plain(t, first), plain(t, second)); diff != "" {
		t.Errorf("%s is not content with its own work (-first +second):\n%s", name, diff)
	}
	return plain(t, first)
}

func (r *run[V, H]) down(t *testing.T, virtual V, seen client.Object) client.Object {
	t.Helper()
	host := newOf[H](seen)
	key := client.ObjectKeyFromObject(virtual)
	translate.Stamp(testCluster(), r.resource.Names, key, virtual.GetUID(), host)
	if err := r.resource.Down(r.scope, virtual.DeepCopyObject().(V), host); err != nil {
		t.Fatal(err)
	}
	return host
}

func (r *run[V, H]) up(t *testing.T, key types.NamespacedName, host H, seen client.Object) client.Object {
	t.Helper()
	virtual := newOf[V](seen)
	if r.resource.Owner == syncer.Host {
		virtual.SetNamespace(key.Namespace)
		virtual.SetName(key.Name)
		annotations := maps.Clone(virtual.GetAnnotations())
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[labels.HostUID] = string(host.GetUID())
		virtual.SetAnnotations(annotations)
	}
	if err := r.resource.Up(r.scope, host.DeepCopyObject().(H), virtual); err != nil {
		t.Fatal(err)
	}
	return virtual
}

// also is what a change of each cached object requeues.
func (r *run[V, H]) also() []string {
	var keys []string
	for _, watch := range r.resource.Also {
		kind := reflectType(watch.Object)
		for _, object := range r.cached[watch.Side] {
			if reflectType(object) != kind {
				continue
			}
			found, err := watch.Keys(r.scope, object)
			if err != nil {
				keys = append(keys, "error: "+err.Error())
			}
			for _, key := range found {
				keys = append(keys, key.String())
			}
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// checkGolden compares what came out with the golden file.
func checkGolden(t *testing.T, file string, got any) {
	t.Helper()
	text, err := yaml.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (write it with -update and read what it says)", err)
	}
	if diff := cmp.Diff(string(want), string(text)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
