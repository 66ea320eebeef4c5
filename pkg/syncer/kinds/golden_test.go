package kinds

import (
	"encoding/json"
	"errors"
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
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden is the input of a case in testdata/<kind>/<case>.in.yaml. Its [outcome] is in
// <case>.out.yaml. In the input, ${shop/web} is the name of the host copy of shop/web.
type golden struct {
	// Reason explains why the case is worth one.
	Reason string `json:"reason"`
	// Sync overrides the default settings.
	Sync json.RawMessage `json:"sync"`
	// Policies overrides the default policies. Without it, the case has none.
	Policies json.RawMessage `json:"policies"`
	// VirtualScheduler runs one in the virtual cluster.
	VirtualScheduler bool `json:"virtualScheduler"`
	// Proposals are the nodes that it has in mind, by the UID of the pod.
	Proposals handed `json:"proposals"`
	// Virtual and Host are the two objects. One that is missing does not exist.
	Virtual json.RawMessage `json:"virtual"`
	Host    json.RawMessage `json:"host"`
	// InVirtual and InHost are what else the caches hold.
	InVirtual []json.RawMessage `json:"inVirtual"`
	InHost    []json.RawMessage `json:"inHost"`
}

// handed are proposals in memory.
type handed map[types.UID]string

func (h handed) Proposed(pod types.UID) string { return h[pod] }

// outcome is what becomes of a case.
type outcome struct {
	// Key is the virtual key of the host object, "none" if it has none.
	Key string `json:"key,omitempty"`
	// Wanted reports whether the engine keeps a copy.
	Wanted bool `json:"wanted"`
	// Deleted reports whether it has deleted one on the way.
	Deleted bool `json:"deleted,omitempty"`
	// Events are what the tenant is told on the way.
	Events []string `json:"events,omitempty"`
	// Refused is why the host gets no copy.
	Refused string `json:"refused,omitempty"`
	// Also are the keys that a change of each cached object requeues.
	Also []string `json:"also,omitempty"`
	// Down is the host copy and Up the virtual object, once nothing is left to write.
	Down any `json:"down,omitempty"`
	Up   any `json:"up,omitempty"`
	// Last is the virtual copy at the moment when it is deleted because its host object
	// is gone, if the engine changes it before.
	Last any `json:"last,omitempty"`
}

// testCluster returns the virtual cluster of every test.
func testCluster() translate.Cluster {
	return translate.Cluster{
		UID: "11111111-2222-3333-4444-555555555555", Name: "shop", Namespace: "tenant-shop",
		Anchor: metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "shop-anchor", UID: "11111111-2222-3333-4444-555555555555"},
	}
}

// testOptions returns what the kinds know in tests.
func testOptions() Options {
	return Options{
		Sync:                   v1alpha1.Default(Settings()...).Sync,
		NetworkPolicy:          v1alpha1.Default().Policies.NetworkPolicy,
		WorkloadServiceAccount: "shop-workload",
		KubernetesServiceIP:    "10.96.0.20",
		DNSServiceIP:           "10.96.0.21",
		ClusterDomain:          "cluster.local",
		KubeletVersion:         "v1.37.1",
		Endpoints:              policy.NewRanges([]string{"192.0.2.0/24"}),
		HostNames:              oneTaken{},
	}
}

// TestGolden runs the golden cases of every kind of the table.
func TestGolden(t *testing.T) {
	t.Parallel()
	eachCase(t, func(t *testing.T, file string, r *run) {
		checkGolden(t, strings.Replace(file, ".in.yaml", ".out.yaml", 1), r.outcome(t))
	})
}

// eachCase calls a test for each golden case of every kind of the table.
func eachCase(t *testing.T, test func(t *testing.T, file string, r *run)) {
	t.Helper()
	for _, row := range Table() {
		for i, makers := range [][]maker{row.makers, {row.without}} {
			for _, m := range makers {
				if m == nil {
					continue
				}
				kind := func(o Options) syncer.Kind { return m(row.Name(), o) }
				name := kind(testOptions()).Name()
				files, err := filepath.Glob(filepath.Join("testdata", name, "*.in.yaml"))
				if err != nil || len(files) == 0 {
					t.Fatalf("no golden cases for kind %s: %v", name, err)
				}
				for _, file := range files {
					t.Run(name+"/"+strings.TrimSuffix(filepath.Base(file), ".in.yaml"), func(t *testing.T) {
						t.Parallel()
						test(t, file, readCase(t, file, kind, row.Setting, i == 0))
					})
				}
			}
		}
	}
}

// readCase reads one case of a kind that is on if its setting is enabled, or is not.
func readCase(t *testing.T, file string, kind func(Options) syncer.Kind, setting string, enabled bool) *run {
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
	options.Tokens, options.PodCertificates = &mint{now: testNow()}, &certifier{}
	options.VirtualScheduler, options.Proposals = in.VirtualScheduler, in.Proposals
	settings := options.Sync.Kinds[setting]
	settings.Enabled = enabled
	options.Sync.Kinds[setting] = settings
	if len(in.Sync) > 0 {
		if err := yaml.UnmarshalStrict(in.Sync, &options.Sync); err != nil {
			t.Fatal(err)
		}
	}
	if len(in.Policies) > 0 {
		policies := v1alpha1.Default().Policies
		if err := yaml.UnmarshalStrict(in.Policies, &policies); err != nil {
			t.Fatal(err)
		}
		options.PodPolicy, options.AlwaysPull = policy.NewPods(policies, in.VirtualScheduler), policies.Images.AlwaysPull
		options.RuntimeHandlers = policies.Pods.RuntimeHandlers
	}
	options.Ingresses = ingressRules(t, options.Sync, in.Policies)
	return newRun(t, kind(options), in, copies)
}

// testNow returns the time of every case.
func testNow() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// run is one case in progress: a kind, and the two API servers that it sees.
type run struct {
	step          syncer.Step
	virtual, host client.Object
	sides         map[syncer.Side]*shelf
	refused       string // why the host gets no copy
}

func newRun(t *testing.T, kind syncer.Kind, in golden, copies map[string]types.NamespacedName) *run {
	t.Helper()
	r := &run{sides: map[syncer.Side]*shelf{
		syncer.Virtual: newShelf(syncer.Virtual, kind.Indexes()), syncer.Host: newShelf(syncer.Host, kind.Indexes()),
	}}
	put := func(side syncer.Side, raw json.RawMessage) client.Object {
		if raw == nil {
			return nil
		}
		object := decode(t, raw)
		if key, ok := copies[object.GetName()]; ok && side == syncer.Host {
			uid := types.UID("uid-of-" + key.Name)
			if r.virtual != nil && client.ObjectKeyFromObject(r.virtual) == key {
				uid = r.virtual.GetUID()
			}
			translate.Stamp(testCluster(), translate.Hashed, key, uid, object)
		}
		if side == syncer.Host && object.GetUID() == "" {
			object.SetUID(types.UID("host-uid-of-" + object.GetName()))
		}
		if side == syncer.Host && object.GetResourceVersion() == "" {
			object.SetResourceVersion("1")
		}
		r.sides[side].put(object)
		return object
	}
	r.virtual = put(syncer.Virtual, in.Virtual)
	r.host = put(syncer.Host, in.Host)
	for _, raw := range in.InVirtual {
		put(syncer.Virtual, raw)
	}
	for _, raw := range in.InHost {
		put(syncer.Host, raw)
	}
	if kind.Owner() == syncer.Host && r.virtual != nil && r.virtual.GetAnnotations()[labels.HostUID] == "" {
		// The copy of the host object, unless the case has another one.
		annotations := maps.Clone(r.virtual.GetAnnotations())
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[labels.HostUID] = string(r.host.GetUID())
		r.virtual.SetAnnotations(annotations)
		r.sides[syncer.Virtual].put(r.virtual)
	}
	own := func(side syncer.Side, like client.Object) syncer.StepSide {
		return syncer.StepSide{Client: r.sides[side], Objects: func() []client.Object { return r.sides[side].ofType(like) }}
	}
	r.step = syncer.Step{
		Kind: kind, Cluster: testCluster(), Clock: clocktesting.NewFakePassiveClock(testNow()),
		Virtual: own(syncer.Virtual, kind.NewVirtual()), Host: own(syncer.Host, kind.NewHost()),
	}
	return r
}

func decode(t *testing.T, raw json.RawMessage) client.Object {
	t.Helper()
	object, err := runtime.Decode(scheme.Codecs.UniversalDeserializer(), raw)
	if runtime.IsNotRegisteredError(err) {
		object, err = runtime.Decode(unstructured.UnstructuredJSONScheme, raw)
	}
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

// outcome lets the engine reconcile until it has nothing left to write.
func (r *run) outcome(t *testing.T) outcome {
	t.Helper()
	out := outcome{Also: r.also(t)}
	var key types.NamespacedName
	if r.step.Kind.Owner() == syncer.Host {
		var ok bool
		if key, ok = r.step.Origin(t.Context(), r.host); !ok {
			out.Key = "none"
			return out
		}
		out.Key = key.String()
	} else {
		key = client.ObjectKeyFromObject(r.virtual)
	}
	r.reconcile(t, key)
	virtual := r.sides[syncer.Virtual].ofKey(r.step.Kind.NewVirtual(), key)
	if r.step.Kind.Owner() == syncer.Host {
		out.Wanted, out.Deleted = virtual != nil, r.sides[syncer.Virtual].deleted != nil
		if out.Wanted {
			out.Up = r.sides[syncer.Virtual].plain(t, virtual)
			out.Last = r.last(t, key, virtual)
		}
		return out
	}
	host := r.sides[syncer.Host].ofKey(r.step.Kind.NewHost(), r.step.HostKey(key))
	out.Refused = r.refused
	for _, object := range r.sides[syncer.Virtual].ofType(&corev1.Event{}) {
		if event, ok := object.(*corev1.Event); ok && event.InvolvedObject.UID == r.virtual.GetUID() {
			out.Events = append(out.Events, event.Reason+": "+event.Message)
		}
	}
	out.Wanted, out.Deleted = host != nil, r.sides[syncer.Host].deleted != nil
	if out.Wanted {
		out.Down = r.sides[syncer.Host].plain(t, host)
	}
	if (r.host != nil || r.refused != "") && virtual != nil && r.step.Kind.HasUp() {
		out.Up = r.sides[syncer.Virtual].plain(t, virtual)
	}
	return out
}

// maxSteps is how many reconciles a case may take until nothing is left to write.
const maxSteps = 6

// reconcile reconciles the key until nothing is written any more.
func (r *run) reconcile(t *testing.T, key types.NamespacedName) {
	t.Helper()
	for range maxSteps {
		before := r.writes()
		_, err := r.step.Reconcile(t.Context(), key)
		if unsupported, ok := errors.AsType[*translate.UnsupportedError](err); ok {
			// The engine tries again after a while, and records its Event again.
			r.refused = unsupported.Error()
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if r.writes() == before {
			return
		}
	}
	t.Errorf("the kind is not content with its own work: it still writes after %d reconciles: %v", maxSteps,
		slices.Concat(r.sides[syncer.Virtual].requests, r.sides[syncer.Host].requests))
}

// writes returns how many objects were written, without Events: the engine records one again
// after a while.
func (r *run) writes() int {
	count := 0
	for _, request := range slices.Concat(r.sides[syncer.Virtual].requests, r.sides[syncer.Host].requests) {
		if !strings.Contains(request, " Event ") {
			count++
		}
	}
	return count
}

// last removes the host objects and returns the virtual copy at the moment when it is
// deleted. It returns nil if the engine has not changed the copy before.
func (r *run) last(t *testing.T, key types.NamespacedName, virtual client.Object) any {
	t.Helper()
	before := r.sides[syncer.Virtual].plain(t, virtual)
	r.sides[syncer.Host].objects = nil
	r.sides[syncer.Virtual].deleted = nil
	r.reconcile(t, key)
	if deleted := r.sides[syncer.Virtual].deleted; deleted != nil {
		if last := r.sides[syncer.Virtual].plain(t, deleted); !cmp.Equal(before, last) {
			return last
		}
	}
	return nil
}

// also returns what a change of each cached object requeues.
func (r *run) also(t *testing.T) []string {
	t.Helper()
	var keys []string
	for _, watch := range r.step.Kind.Watches() {
		for _, object := range r.sides[watch.Side].ofType(watch.Object) {
			found, err := r.step.Requeued(t.Context(), watch, object)
			if err != nil {
				t.Error(err)
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
