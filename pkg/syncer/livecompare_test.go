package syncer

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/component-base/metrics/testutil"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// mapsAt returns a list of ConfigMaps of a revision, from names and versions.
func mapsAt(revision int, versions map[string]int) *corev1.ConfigMapList {
	list := &corev1.ConfigMapList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(revision)}}
	for name, version := range versions {
		list.Items = append(list.Items, corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: "web", Name: name, UID: types.UID("uid-" + name), ResourceVersion: strconv.Itoa(version),
		}})
	}
	return list
}

// setList sets what a list server answers to the list of a path.
func (s *listServer) setList(path string, list any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists[path] = list
}

func TestFullScanFindsWhatAWatchNeverDelivered(t *testing.T) {
	t.Parallel()
	const path = "/api/v1/configmaps"
	c := clocktesting.NewFakeClock(testStart())
	virtual, host := newListServer(t), newListServer(t)
	virtual.setList(path, mapsAt(10, map[string]int{"same": 3, "changed": 4, "deleted": 5}))
	kind := configMaps()
	kind.name = t.Name()
	kind.want = func(Scope, client.Object, client.Object) (bool, error) { return false, nil }
	e, err := NewEngine(Options{
		Cluster: testCluster(), Virtual: virtual.config(), Host: host.config(), Kinds: []Kind{kind}, Log: silent(), Clock: c,
	})
	if err != nil {
		t.Fatal(err)
	}
	startEngine(t, e)
	<-e.Synced()
	// The watch stays open and delivers nothing.
	virtual.setList(path, mapsAt(20, map[string]int{"same": 3, "changed": 12, "created": 13}))
	missed := processMetrics().cacheMissed.WithLabelValues("virtual", "ConfigMap")
	count := func() float64 {
		value, err := testutil.GetCounterMetricValue(missed)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	before := count()
	want := map[string]string{"same": "3", "changed": "12", "created": "13"}
	deadline := time.After(awaitTimeout)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	c.Step(time.Minute)
	for {
		got := map[string]string{}
		for _, o := range e.runners[kind.name].virtualStore.List() {
			got[o.GetName()] = o.GetResourceVersion()
		}
		if cmp.Diff(want, got) == "" {
			break
		}
		select {
		case <-deadline:
			t.Fatalf("The cache must be repaired (-want +got):\n%s", cmp.Diff(want, got))
		case <-tick.C:
			c.Step(time.Second)
		}
	}
	if got := count() - before; got != 3 {
		t.Errorf("A changed, a deleted and a created object were missed, %g were counted", got)
	}
}

// pagedClient is a client whose lists have two objects a page.
type pagedClient struct {
	client.Client
	names    []string
	requests []client.ListOptions
}

func (p *pagedClient) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	opts := client.ListOptions{}
	opts.ApplyOptions(options)
	p.requests = append(p.requests, opts)
	page, ok := list.(*metav1.PartialObjectMetadataList)
	if !ok {
		return fmt.Errorf("a list of %T, not of metadata", list)
	}
	start, _ := strconv.Atoi(opts.Continue)
	for i := start; i < min(start+2, len(p.names)); i++ {
		page.Items = append(page.Items, metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "tenant", Name: p.names[i], ResourceVersion: "7"}})
	}
	page.ResourceVersion, page.Continue = "9", ""
	if start+2 < len(p.names) {
		page.Continue = strconv.Itoa(start + 2)
	}
	return nil
}

func TestLiveListReadsAllPagesOfWhatIsWatched(t *testing.T) {
	t.Parallel()
	p := &pagedClient{names: []string{"a", "b", "c", "d", "e"}}
	w := &sharedWatch{gvk: corev1.SchemeGroupVersion.WithKind("Secret"), selector: oursSelector(testCluster()), namespaced: true}
	live, err := listLive(t.Context(), p, w, Place{Namespace: "tenant"})
	if err != nil {
		t.Fatal(err)
	}
	if len(live.objects) != len(p.names) || live.revision != "9" {
		t.Errorf("All pages must be read, got %+v", live)
	}
	if len(p.requests) != 3 {
		t.Errorf("Five objects are three pages, got %d requests", len(p.requests))
	}
	for _, r := range p.requests {
		if r.Limit != livePageSize || r.Namespace != "tenant" || r.LabelSelector.String() != "sublet.dev/cluster=anchor-uid" {
			t.Errorf("A list must be confined as the watch is, got %+v", r)
		}
	}
}

func TestIsMissed(t *testing.T) {
	t.Parallel()
	key := types.NamespacedName{Namespace: "web", Name: "cart"}
	tests := map[string]struct {
		reason string
		cached string // version, empty for none
		live   string
		want   bool
	}{
		"Same":       {"Both have the same version.", "5", "5", false},
		"Outdated":   {"The cache has an older version.", "5", "6", true},
		"Ahead":      {"The object was changed after the list.", "7", "6", false},
		"Unknown":    {"The cache lacks the object.", "", "6", true},
		"Deleted":    {"The API server lacks an object that the cache has.", "5", "", true},
		"CreatedNow": {"It was created after the list.", "11", "", false},
		"Neither":    {"Nobody has it.", "", "", false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &sharedWatch{gvk: schema.GroupVersionKind{Kind: "ConfigMap"}, selector: apilabels.Everything()}
			w.informer = toolscache.NewSharedIndexInformer(&toolscache.ListWatch{}, &corev1.ConfigMap{}, 0, toolscache.Indexers{})
			if tc.cached != "" {
				object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, ResourceVersion: tc.cached}}
				if err := w.informer.GetIndexer().Add(object); err != nil {
					t.Fatal(err)
				}
			}
			live := liveList{revision: "10", objects: map[types.NamespacedName]string{}}
			if tc.live != "" {
				live.objects[key] = tc.live
			}
			if got := isMissed(w, key, live); got != tc.want {
				t.Errorf("%s Missed: %t", tc.reason, got)
			}
		})
	}
}
