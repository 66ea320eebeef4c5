package syncer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// listServer is an API server that answers lists and keeps watches open. Its lists
// are empty but for what the test puts there.
type listServer struct {
	*httptest.Server
	mu      sync.Mutex
	lists   map[string]any
	watches map[string]int // open ones by path and selectors
	most    map[string]int
	// fault answers a watch in another way, if it is set.
	fault http.HandlerFunc
	// cut ends the open watches.
	cut chan struct{}
	// writes are the requests that were no reads.
	writes []string
}

func newListServer(t *testing.T) *listServer {
	t.Helper()
	s := &listServer{lists: map[string]any{}, watches: map[string]int{}, most: map[string]int{}, cut: make(chan struct{})}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		// No client may connect again, or Close would wait for its watch.
		_ = s.Listener.Close()
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func (s *listServer) config() *rest.Config { return &rest.Config{Host: s.URL} }

func (s *listServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	query := r.URL.Query()
	switch {
	case r.Method != http.MethodGet:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.writes = append(s.writes, r.UserAgent()+" "+r.Method+" "+r.URL.Path)
		_, _ = io.Copy(w, r.Body)
	case query.Get("sendInitialEvents") != "":
		w.WriteHeader(http.StatusUnprocessableEntity)
		_ = json.NewEncoder(w).Encode(metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonInvalid, Code: 422})
	case query.Get("watch") != "":
		s.serveWatch(w, r)
	default:
		s.mu.Lock()
		defer s.mu.Unlock()
		list, ok := s.lists[r.URL.Path]
		if !ok {
			list = map[string]any{"metadata": map[string]any{"resourceVersion": "1"}, "items": []any{}}
		}
		if strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadataList") {
			list = asMetadata(list)
		}
		_ = json.NewEncoder(w).Encode(list)
	}
}

// asMetadata returns a list as metadata alone.
func asMetadata(list any) any {
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	partial := &metav1.PartialObjectMetadataList{}
	if err := json.Unmarshal(text, partial); err != nil {
		return err
	}
	partial.TypeMeta = metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadataList"}
	for i := range partial.Items {
		partial.Items[i].TypeMeta = metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}
	}
	return partial
}

// serveWatch answers a watch with the fault, or leaves it open until it is cut.
func (s *listServer) serveWatch(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	// Both are read at once: a watch that missed the fault must not miss the cut, too.
	fault, cut := s.fault, s.cut
	s.mu.Unlock()
	if fault != nil {
		fault(w, r)
		return
	}
	query := r.URL.Query()
	what := r.URL.Path + " " + query.Get("labelSelector") + " " + query.Get("fieldSelector")
	s.count(what, 1)
	defer s.count(what, -1)
	w.(http.Flusher).Flush()
	select {
	case <-r.Context().Done():
	case <-cut:
	}
}

// breakWatches ends the open watches and answers further ones with fault; nil lets
// them work again.
func (s *listServer) breakWatches(fault http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
	close(s.cut)
	s.cut = make(chan struct{})
}

// written returns the writes that contain a text: of a client, a verb or a path.
func (s *listServer) written(text string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []string
	for _, write := range s.writes {
		if strings.Contains(write, text) {
			found = append(found, write)
		}
	}
	return found
}

// awaitWrite waits until there was a write to a path.
func (s *listServer) awaitWrite(t *testing.T, path string) {
	t.Helper()
	deadline := time.After(awaitTimeout)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for len(s.written(path)) == 0 {
		select {
		case <-deadline:
			t.Fatalf("no write to %s", path)
		case <-tick.C:
		}
	}
}

func (s *listServer) count(what string, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches[what] += by
	s.most[what] = max(s.most[what], s.watches[what])
	if s.watches[what] == 0 {
		delete(s.watches, what)
	}
}

// mostOf returns how many watches of a path and its selectors were open at once.
func (s *listServer) mostOf(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most[what]
}

// await waits until just these watches are open.
func (s *listServer) await(t *testing.T, want map[string]int) {
	t.Helper()
	diff := ""
	for deadline := time.Now().Add(awaitTimeout); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		s.mu.Lock()
		diff = cmp.Diff(want, s.watches)
		s.mu.Unlock()
		if diff == "" {
			return
		}
	}
	t.Fatalf("Open watches (-want +got):\n%s", diff)
}

// runEngine runs an engine between two list servers until the test ends.
func runEngine(t *testing.T, kinds ...Kind) (e *Engine, virtual, host *listServer) {
	t.Helper()
	e, virtual, host = newTestEngine(t, kinds...)
	startEngine(t, e)
	return e, virtual, host
}

// startEngine runs an engine until stop is called, or the test ends.
func startEngine(t *testing.T, e *Engine) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// silent returns a log that nobody reads.
func silent() logr.Logger { return funcr.New(func(_, _ string) {}, funcr.Options{}) }

const (
	oursQuery   = " sublet.dev/cluster=anchor-uid metadata.namespace=tenant"
	hostSecrets = "/api/v1/namespaces/tenant/secrets" + oursQuery
	hostPods    = "/api/v1/namespaces/tenant/pods" + oursQuery
)

func TestWatchesAreSharedAndEnd(t *testing.T) {
	t.Parallel()
	e, virtual, host := runEngine(t, secrets(), tokens(), nodes())
	<-e.Synced()
	virtual.await(t, map[string]int{"/api/v1/pods  ": 1, "/api/v1/secrets  ": 1, "/api/v1/nodes  ": 1})
	host.await(t, map[string]int{hostSecrets: 1, "/api/v1/nodes  ": 1})

	e.Drop("secrets")
	virtual.await(t, map[string]int{"/api/v1/pods  ": 1, "/api/v1/nodes  ": 1})
	host.await(t, map[string]int{hostSecrets: 1, "/api/v1/nodes  ": 1})

	e.Drop("tokens")
	e.Drop("nodes")
	virtual.await(t, map[string]int{})
	host.await(t, map[string]int{})

	if err := e.Add(pods()); err != nil {
		t.Fatal(err)
	}
	host.await(t, map[string]int{hostPods: 1})
	if got := host.mostOf(hostSecrets); got != 1 {
		t.Errorf("Two kinds of one type must share a watch, %d were open at a time", got)
	}
}

func TestScopeReadsWhatIsDeclared(t *testing.T) {
	t.Parallel()
	k := nodes()
	k.also = []Watch{{Side: Host, Object: &corev1.Pod{}, Keys: func(Scope, client.Object) ([]types.NamespacedName, error) { return nil, nil }}}
	k.indexes = []Index{{Side: Host, Object: &corev1.Pod{}, Field: "node", Values: func(o client.Object) []string {
		return []string{o.(*corev1.Pod).Spec.NodeName}
	}}}
	e, virtual, host := runEngine(t)
	host.setList("/api/v1/namespaces/tenant/pods", &corev1.PodList{
		ListMeta: metav1.ListMeta{ResourceVersion: "5"},
		Items: []corev1.Pod{
			{ObjectMeta: metav1.ObjectMeta{Name: "p1", Namespace: "tenant", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "x"}}}, Spec: corev1.PodSpec{NodeName: "n1"}},
			{ObjectMeta: metav1.ObjectMeta{Name: "p2", Namespace: "tenant"}, Spec: corev1.PodSpec{NodeName: "n2"}},
		},
	})
	if err := e.Add(k); err != nil {
		t.Fatal(err)
	}
	<-e.runners["nodes"].synced
	s := e.runners["nodes"].reconciler.scope(t.Context())
	list := &corev1.PodList{}
	if err := s.Host.List(t.Context(), list, client.InNamespace("tenant"), client.MatchingFields{"node": "n1"}); err != nil || len(list.Items) != 1 {
		t.Errorf("The index must find the one pod of the node, got %d, %v", len(list.Items), err)
	}
	pod := &corev1.Pod{}
	if err := s.Host.Get(t.Context(), client.ObjectKey{Namespace: "tenant", Name: "p1"}, pod); err != nil || pod.ManagedFields != nil {
		t.Errorf("A pod must be there, without managed fields, got %v, %v", pod.ManagedFields, err)
	}
	if err := s.Host.Get(t.Context(), client.ObjectKey{Name: "x"}, &corev1.Secret{}); err == nil || !strings.Contains(err.Error(), "without watching") {
		t.Errorf("What a kind does not declare it must not read on the host, got %v", err)
	}
	if err := s.Virtual.List(t.Context(), &corev1.ServiceList{}); err != nil {
		t.Errorf("On the virtual side a kind may read anything: %v", err)
	}
	virtual.await(t, map[string]int{"/api/v1/services  ": 1, "/api/v1/nodes  ": 1})
	e.Drop("nodes")
	virtual.await(t, map[string]int{})
}

func TestSelectNarrowsAndTrimDrops(t *testing.T) {
	t.Parallel()
	k := nodes()
	k.selector = labelsOf("zone=a")
	k.trim = func(o client.Object) { o.(*corev1.Node).Status.Images = nil }
	e, _, host := runEngine(t)
	host.setList("/api/v1/nodes", &corev1.NodeList{
		ListMeta: metav1.ListMeta{ResourceVersion: "5"},
		Items: []corev1.Node{{
			ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "h1", Labels: map[string]string{"hidden": "yes"}},
			Status:     corev1.NodeStatus{Images: []corev1.ContainerImage{{Names: []string{"big"}}}},
		}},
	})
	if err := e.Add(k); err != nil {
		t.Fatal(err)
	}
	<-e.runners["nodes"].synced
	host.await(t, map[string]int{"/api/v1/nodes zone=a ": 1})
	node := e.runners["nodes"].reconciler.host.store.Get(types.NamespacedName{Name: "n1"})
	if node == nil || node.(*corev1.Node).Status.Images != nil {
		t.Errorf("The cache must not keep what is trimmed, got %v", node)
	}
}

func TestEngineRunsOnce(t *testing.T) {
	t.Parallel()
	e, _, _ := runEngine(t, services())
	<-e.Synced()
	if err := e.Run(t.Context()); err == nil {
		t.Error("An engine that runs must not run again")
	}
}

func TestMapperKnowsBuiltInKinds(t *testing.T) {
	t.Parallel()
	e, err := NewEngine(Options{Virtual: &rest.Config{Host: "http://nowhere.test"}, Host: &rest.Config{Host: "http://nowhere.test"}})
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]string{
		"/v1/Pod": "pods namespace", "/v1/Endpoints": "endpoints namespace", "/v1/Node": "nodes root",
		"discovery.k8s.io/v1/EndpointSlice": "endpointslices namespace", "storage.k8s.io/v1/StorageClass": "storageclasses root",
		"/v1/PersistentVolumeClaim": "persistentvolumeclaims namespace", "networking.k8s.io/v1/Ingress": "ingresses namespace",
		"networking.k8s.io/v1/NetworkPolicy": "networkpolicies namespace", "policy/v1/PodDisruptionBudget": "poddisruptionbudgets namespace",
	} {
		parts := strings.Split(kind, "/")
		mapping, err := e.host.watches.mapper.RESTMapping(groupKind(parts[0], parts[2]), parts[1])
		if err != nil {
			t.Errorf("%s must be known without asking: %v", kind, err)
			continue
		}
		if got := fmt.Sprintf("%s %s", mapping.Resource.Resource, mapping.Scope.Name()); got != want {
			t.Errorf("%s is at %q, want %q", kind, got, want)
		}
	}
}

func TestOriginTellsKindsOfOneTypeApart(t *testing.T) {
	t.Parallel()
	secret := &corev1.Secret{}
	translate.Stamp(testCluster(), translate.Derived("token"), theKey(), "v1", secret)
	s := Scope{Cluster: testCluster()}
	if _, ours := secrets().origin(s, secret); ours {
		t.Error("The Secret of a pod's token must not look like the copy of a Secret")
	}
	if key, ours := tokens().origin(s, secret); !ours || key != theKey() {
		t.Errorf("The Secret of a pod's token must lead to its pod, got %s, %t", key, ours)
	}
	secret.Labels[labels.Cluster] = "another"
	if _, ours := tokens().origin(s, secret); ours {
		t.Error("What belongs to another virtual cluster must not be ours")
	}
}
