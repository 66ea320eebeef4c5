package syncer

import (
	"context"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// testStart returns the time at which all tests begin.
func testStart() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// testCluster returns the virtual cluster of the tests.
func testCluster() translate.Cluster {
	return translate.Cluster{
		UID: "anchor-uid", Name: "shop", Namespace: "tenant",
		Anchor: metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "shop-anchor", UID: "anchor-uid"},
	}
}

// configMaps returns a kind of the virtual side. Data is synced down, and an
// annotation of the host up.
func configMaps() Kind {
	return Define("configmaps", Resource[*corev1.ConfigMap, *corev1.ConfigMap]{
		Owner: Virtual,
		Names: translate.Hashed,
		Want: func(_ Scope, virtual, _ *corev1.ConfigMap) (bool, error) {
			return virtual.Labels["private"] == "", nil
		},
		Down: func(_ Scope, virtual, host *corev1.ConfigMap) error {
			host.Data = maps.Clone(virtual.Data)
			return nil
		},
		Up: func(_ Scope, host, virtual *corev1.ConfigMap) error {
			if seen := host.Annotations["seen"]; seen != "" {
				virtual.SetAnnotations(map[string]string{"seen": seen})
			}
			return nil
		},
	})
}

// pods returns a kind that ends with its host copy.
func pods() Kind {
	return Define("pods", Resource[*corev1.Pod, *corev1.Pod]{
		Owner: Virtual,
		Names: translate.Hashed,
		Down: func(_ Scope, virtual, host *corev1.Pod) error {
			if host.UID == "" {
				host.Spec.Containers = virtual.Spec.Containers
			}
			host.Spec.EphemeralContainers = virtual.Spec.EphemeralContainers
			for i := range host.Spec.Containers {
				host.Spec.Containers[i].Resources = virtual.Spec.Containers[i].Resources
			}
			host.Labels["app"] = virtual.Labels["app"]
			return nil
		},
		Up: func(_ Scope, host, virtual *corev1.Pod) error {
			if virtual.DeletionTimestamp == nil {
				virtual.Spec.NodeName = host.Spec.NodeName
			}
			virtual.Status = host.Status
			return nil
		},
		EvictedWithCopy: true,
		Started: func(_ Scope, virtual, host *corev1.Pod) bool {
			return virtual.Spec.NodeName != "" || host != nil && host.Spec.NodeName != ""
		},
		Lost: func(_ Scope, virtual *corev1.Pod) error {
			if virtual.Status.Phase != corev1.PodSucceeded {
				virtual.Status.Phase = corev1.PodFailed
			}
			return nil
		},
	})
}

// patientPods returns pods whose copies have 7 seconds to end.
func patientPods() Kind {
	kind := pods()
	kind.leastGrace = func(client.Object) int64 { return 7 }
	return kind
}

// tokens returns a kind whose host objects are Secrets, as those of another kind.
func tokens() Kind {
	return Define("tokens", Resource[*corev1.Pod, *corev1.Secret]{
		Owner: Virtual,
		Names: translate.Derived("token"),
		Down: func(s Scope, virtual *corev1.Pod, host *corev1.Secret) error {
			host.Data = map[string][]byte{"for": []byte(virtual.Name)}
			s.RequeueAfter(time.Hour)
			return nil
		},
	})
}

// secrets returns the other kind.
func secrets() Kind {
	return Define("secrets", Resource[*corev1.Secret, *corev1.Secret]{
		Owner: Virtual,
		Names: translate.Hashed,
		Down: func(_ Scope, virtual, host *corev1.Secret) error {
			host.Data = virtual.Data
			return nil
		},
	})
}

// nodes returns a kind of the host.
func nodes() Kind {
	return Define("nodes", Resource[*corev1.Node, *corev1.Node]{
		Owner:  Host,
		Names:  translate.Same,
		Select: apilabels.Everything(),
		Origin: func(_ Scope, host *corev1.Node) (types.NamespacedName, bool) {
			return types.NamespacedName{Name: host.Name}, true
		},
		Want: func(_ Scope, _, host *corev1.Node) (bool, error) { return host.Labels["hidden"] == "", nil },
		Up: func(_ Scope, host, virtual *corev1.Node) error {
			virtual.Labels = maps.Clone(host.Labels)
			virtual.Status = host.Status
			return nil
		},
	})
}

// view is a store that shows a server as it was when it was refreshed last.
type view struct {
	server   *fakeServer
	like     client.Object
	selector apilabels.Selector
	seen     map[types.NamespacedName]client.Object
}

func (v *view) refresh() {
	v.seen = map[types.NamespacedName]client.Object{}
	for _, o := range v.server.list(v.like, v.selector) {
		v.seen[client.ObjectKeyFromObject(o)] = o
	}
}

func (v *view) Get(key types.NamespacedName) client.Object {
	if o, ok := v.seen[key]; ok {
		return o
	}
	return nil
}

func (v *view) List() []client.Object {
	var all []client.Object
	for _, o := range v.seen {
		all = append(all, o)
	}
	return all
}

// bench is a reconciler of one kind between two fake servers.
type bench struct {
	*reconciler
	clock         *clocktesting.FakeClock
	virtualServer *fakeServer
	hostServer    *fakeServer
	virtualView   *view
	hostView      *view
	reason        string // why deletes are on hold
	paused        atomic.Bool
	writes        int
}

// newBenchOf sets up a kind between two servers that have one object each. nil means none.
func newBenchOf(kind Kind, clock *clocktesting.FakeClock, virtual, host client.Object) *bench {
	servers := map[string]*fakeServer{}
	for name, object := range map[string]client.Object{"virtual": virtual, "host": host} {
		servers[name] = newFakeServer(name, clock)
		if object != nil {
			servers[name].add(object)
		}
	}
	return newBench(kind, clock, servers["virtual"], servers["host"])
}

// reconciled is what a reconcile does.
type reconciled struct {
	host, virtual []string // requests, reads aside
	again         time.Duration
	err           bool
}

// compare compares what a reconcile has done and returned with what is wanted.
func (b *bench) compare(t *testing.T, reason string, want reconciled, again time.Duration, err error) {
	t.Helper()
	got := reconciled{host: writesOf(b.hostServer), virtual: writesOf(b.virtualServer), again: again, err: err != nil}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(reconciled{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s\nerror: %v\n-want +got\n%s", reason, err, diff)
	}
}

// newBench sets up a kind between two servers, whose state it sees.
func newBench(kind Kind, clock *clocktesting.FakeClock, virtual, host *fakeServer) *bench {
	b := &bench{clock: clock, virtualServer: virtual, hostServer: host}
	selector := oursSelector(testCluster())
	if kind.selector != nil {
		selector = kind.selector
	}
	b.virtualView = &view{server: virtual, like: kind.newVirtual(), selector: apilabels.Everything()}
	b.hostView = &view{server: host, like: kind.newHost(), selector: selector}
	b.reconciler = &reconciler{
		unstored: &unstoredCopies{},
		kind:     kind, cluster: testCluster(), clock: clock, log: logr.Discard(),
		virtual:      sideClients{store: b.virtualView, reader: virtual, client: virtual},
		host:         sideClients{store: b.hostView, reader: host, client: host},
		expectations: newExpectations(clock),
		sightings:    newSightings(clock),
		compared:     newCompared(),
		alterations:  newAlterations(clock),
		contests:     newContests(clock),
		paused:       &b.paused,
		events:       newTenantEvents(virtual, scheme.Scheme, clock, logr.Discard(), translate.Cluster{Namespace: "tenant"}),
		holdReason:   func() string { return b.reason },
		onWrite:      func() { b.writes++ },
	}
	b.refresh()
	return b
}

// refresh lets both caches catch up.
func (b *bench) refresh() {
	b.virtualView.refresh()
	b.hostView.refresh()
}

// reconcileUntilQuiet reconciles a key, with fresh caches each time, until nothing is written.
func (b *bench) reconcileUntilQuiet(t *testing.T, key types.NamespacedName) error {
	t.Helper()
	for range 10 {
		b.refresh()
		before := b.writes
		if _, err := b.reconcile(context.Background(), key); err != nil {
			return err
		}
		if b.writes == before {
			return nil
		}
	}
	t.Fatalf("reconciles of %s never come to rest", key)
	return nil
}

// labelsEverything selects every object.
func labelsEverything() apilabels.Selector { return apilabels.Everything() }

// resourceOf returns a quantity.
func resourceOf(text string) *quantity.Quantity {
	q := quantity.MustParse(text)
	return &q
}

// registry returns all metrics.
func registry() metrics.Gatherer { return legacyregistry.DefaultGatherer }

// labelsOf returns a selector from its text.
func labelsOf(text string) apilabels.Selector {
	selector, err := apilabels.Parse(text)
	if err != nil {
		panic(err)
	}
	return selector
}

// groupKind returns a kind of a group.
func groupKind(group, kind string) schema.GroupKind {
	return schema.GroupKind{Group: group, Kind: kind}
}

// newVolumeKind returns a kind of the host with a FindOriginal: one virtual volume per bound claim.
func newVolumeKind() Kind {
	const byVolume = "volume"
	return Define("volumes", Resource[*corev1.PersistentVolume, *corev1.PersistentVolumeClaim]{
		Owner: Host,
		Names: translate.Same,
		Origin: func(_ Scope, host *corev1.PersistentVolumeClaim) (types.NamespacedName, bool) {
			return types.NamespacedName{Name: host.Spec.VolumeName}, host.Spec.VolumeName != ""
		},
		FindOriginal: func(s Scope, virtual types.NamespacedName) (*corev1.PersistentVolumeClaim, bool, error) {
			var claims corev1.PersistentVolumeClaimList
			err := s.Host.List(s.Context, &claims, client.InNamespace(s.Cluster.Namespace), client.MatchingFields{byVolume: virtual.Name})
			if err != nil || len(claims.Items) == 0 {
				return nil, false, err
			}
			return &claims.Items[0], true, nil
		},
		Indexes: []Index{{Side: Host, Object: &corev1.PersistentVolumeClaim{}, Field: byVolume, Values: func(o client.Object) []string {
			return []string{o.(*corev1.PersistentVolumeClaim).Spec.VolumeName}
		}}},
	})
}

// cachedReader is a cache that shows nothing while it is late.
type cachedReader struct {
	client.Reader
	late *bool
}

// List implements client.Reader.
func (r cachedReader) List(ctx context.Context, list client.ObjectList, _ ...client.ListOption) error {
	if *r.late {
		return nil
	}
	return r.Reader.List(ctx, list)
}
