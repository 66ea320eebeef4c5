package kinds

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

var update = flag.Bool("update", false, "write the golden files again")

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
	Proposals fakeProposals `json:"proposals"`
	// Virtual and Host are the two objects. One that is missing does not exist.
	Virtual json.RawMessage `json:"virtual"`
	Host    json.RawMessage `json:"host"`
	// Earlier are virtual objects as they were when the copy was made. The case begins with that
	// copy, for kinds whose copies have names of their own.
	Earlier []json.RawMessage `json:"earlier"`
	// InVirtual and InHost are what else the caches hold.
	InVirtual []json.RawMessage `json:"inVirtual"`
	InHost    []json.RawMessage `json:"inHost"`
}

// fakeProposals are proposals in memory: pod -> node.
type fakeProposals map[types.UID]string

func (h fakeProposals) Proposed(pod types.UID) string { return h[pod] }

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
		for i, makers := range [][]maker{row.makers, {row.alternative}} {
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
	certificates := &certifier{}
	options.Tokens, options.PodCertificates = &mint{now: testNow()}, certificates
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
		options.PodPolicy, options.AlwaysPull = policy.NewPods(policies, policy.PodOptions{
			VirtualScheduler: in.VirtualScheduler, ResourceClaims: options.Sync.IsEnabled(policy.ResourceClaimsSetting),
		}), policies.Images.AlwaysPull
		options.RuntimeHandlers = policies.Pods.RuntimeHandlers
	}
	options.Ingresses = ingressRules(t, options.Sync, in.Policies)
	r := newRun(t, kind(options), in, copies)
	certificates.virtual = r.sides[syncer.Virtual]
	return r
}

// testNow returns the time of every case.
func testNow() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

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
