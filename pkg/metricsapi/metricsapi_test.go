package metricsapi

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/metrics/pkg/apis/metrics"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// measured returns what the host measured of one of its pods: containers by name.
func measured(name string, containers map[string][2]string) v1beta1.PodMetrics {
	m := v1beta1.PodMetrics{
		ObjectMeta: metav1.ObjectMeta{Namespace: shop().Namespace, Name: name, Labels: map[string]string{"sublet.dev/cluster": shop().UID}},
		Timestamp:  metav1.NewTime(measuredAt),
		Window:     metav1.Duration{Duration: 15e9},
	}
	for _, container := range []string{"app", "log", "injected", "setup", "debug"} {
		if usage, ok := containers[container]; ok {
			m.Containers = append(m.Containers, v1beta1.ContainerMetrics{Name: container, Usage: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse(usage[0]), corev1.ResourceMemory: resource.MustParse(usage[1]),
			}})
		}
	}
	return m
}

// newShop returns a virtual cluster with pods on two of three nodes, on a host that runs
// others too.
func newShop(t *testing.T) *world {
	t.Helper()
	helped := pod("web", "helped", "n1", "app")
	helped.Spec.InitContainers = []corev1.Container{{Name: "setup"}}
	helped.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug"}}}
	helped.Status.EphemeralContainerStatuses = []corev1.ContainerStatus{{Name: "debug", ContainerID: "containerd://1"}}
	// The operator debugs this pod, and the tenant wants a container of the same name. It never starts.
	debugged := pod("db", "debugged", "n2", "app")
	debugged.Spec.EphemeralContainers, debugged.Status.EphemeralContainerStatuses = helped.Spec.EphemeralContainers, []corev1.ContainerStatus{{Name: "debug"}}
	host := &hostAPI{}
	host.list.Items = []v1beta1.PodMetrics{
		measured(hostName("web", "shop"), map[string][2]string{"app": {"250m", "64Mi"}, "log": {"10m", "8Mi"}, "injected": {"500m", "1Gi"}}),
		measured(hostName("web", "helped"), map[string][2]string{"app": {"5m", "1Mi"}, "setup": {"1m", "2Mi"}, "debug": {"2m", "4Mi"}}),
		measured(hostName("db", "shop"), map[string][2]string{"app": {"1", "512Mi"}}),
		// The host measured only a container that it added.
		measured(hostName("db", "hidden"), map[string][2]string{"injected": {"1", "512Mi"}}),
		measured(hostName("db", "debugged"), map[string][2]string{"debug": {"1", "512Mi"}}),
		// Pods of nobody here, under the names of virtual pods and under others.
		measured("shop", map[string][2]string{"app": {"7", "7Gi"}}),
		measured("foreign", map[string][2]string{"app": {"9", "9Gi"}}),
		measured(hostName("db", "gone"), map[string][2]string{"app": {"3", "3Gi"}}),
	}
	return newWorld(t, host,
		pod("web", "shop", "n1", "app", "log"), helped, pod("db", "shop", "n2", "app"), pod("db", "hidden", "n2", "app"), debugged,
		pod("web", "new", "n1", "app"), pod("web", "waits", "", "app"),
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"zone": "a"}}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "idle"}})
}

// TestGoldens compares all that a tenant gets with files.
func TestGoldens(t *testing.T) {
	t.Parallel()
	w := newShop(t)
	for name, show := range map[string]func() (any, error){
		"pods":  func() (any, error) { return w.external(list(t, w.pods, "")) },
		"nodes": func() (any, error) { return w.external(list(t, w.nodes, "")) },
		"pods-table": func() (any, error) {
			all, err := list(t, w.pods, "")
			if err != nil {
				return nil, err
			}
			table, err := w.pods.ConvertToTable(t.Context(), all, nil)
			return withoutObjects(table), err
		},
		"nodes-table": func() (any, error) {
			all, err := list(t, w.nodes, "")
			if err != nil {
				return nil, err
			}
			table, err := w.nodes.ConvertToTable(t.Context(), all, nil)
			return withoutObjects(table), err
		},
	} {
		got, err := show()
		if err != nil {
			t.Fatal(err)
		}
		checkGolden(t, name, got)
	}
}

// external returns an object as tenants get it.
func (w *world) external(object runtime.Object, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return w.scheme.ConvertToVersion(object, v1beta1.SchemeGroupVersion)
}

// withoutObjects returns the cells of a table.
func withoutObjects(table *metav1.Table) *metav1.Table {
	for i := range table.Rows {
		table.Rows[i].Object.Object = nil
	}
	return table
}

// TestGet reads single objects.
func TestGet(t *testing.T) {
	t.Parallel()
	w := newShop(t)
	cases := map[string]struct {
		reason          string
		namespace, name string
		want            []string // containers; nil means not found
	}{
		"Own":      {"A pod has the containers that the tenant wrote.", "web", "shop", []string{"app", "log"}},
		"AllSorts": {"Init and ephemeral containers are the tenant's too.", "web", "helped", []string{"app", "setup", "debug"}},
		"Other":    {"A pod of another namespace has its own usage.", "db", "shop", []string{"app"}},
		"Hidden":   {"A container that the host added is not shown.", "db", "hidden", nil},
		"Debugged": {"Nor is one with which an operator debugs the pod.", "db", "debugged", nil},
		"New":      {"The host has not measured the pod yet.", "web", "new", nil},
		"Gone":     {"The virtual pod does not exist, although its copy still runs.", "db", "gone", nil},
		"HostName": {"The host's name of a pod is no name here.", "web", hostName("web", "shop"), nil},
		"Foreign":  {"A pod of somebody else does not exist.", "web", "foreign", nil},
		"HostsNS":  {"The host's namespace does not exist.", shop().Namespace, "foreign", nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := w.pods.Get(genericapirequest.WithNamespace(t.Context(), tc.namespace), tc.name, nil)
			if tc.want == nil {
				if !apierrors.IsNotFound(err) {
					t.Errorf("%s\nGet: %v, %v, want not found", tc.reason, got, err)
				}
				return
			}
			if err != nil {
				t.Fatalf("%s\n%v", tc.reason, err)
			}
			var containers []string
			for _, c := range got.(*metrics.PodMetrics).Containers {
				containers = append(containers, c.Name)
			}
			if diff := cmp.Diff(tc.want, containers); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
	if _, err := w.nodes.Get(t.Context(), "host-node", nil); !apierrors.IsNotFound(err) {
		t.Errorf("Get of a node that is not shown: %v, want not found", err)
	}
	idle, err := w.nodes.Get(t.Context(), "idle", nil)
	if err != nil {
		t.Fatal(err)
	}
	if cpu := idle.(*metrics.NodeMetrics).Usage[corev1.ResourceCPU]; !cpu.IsZero() {
		t.Errorf("A node without pods of the tenant uses %s, want nothing", cpu.String())
	}
}

// TestSelectors lists by namespace and by label.
func TestSelectors(t *testing.T) {
	t.Parallel()
	w := newShop(t)
	cases := map[string]struct {
		reason, namespace, selector string
		want                        []string
	}{
		"All":       {"Without a namespace, all pods are listed.", "", "", []string{"db/shop", "web/helped", "web/shop"}},
		"Namespace": {"A namespace has its own pods.", "web", "", []string{"web/helped", "web/shop"}},
		"Label":     {"Autoscalers list the pods of a workload.", "", "app=shop", []string{"db/shop", "web/shop"}},
		"Host":      {"The host's labels select nothing.", "", "sublet.dev/cluster=" + shop().UID, nil},
		"Foreign":   {"The host's namespace has no pods here.", shop().Namespace, "", nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			selector, err := labels.Parse(tc.selector)
			if err != nil {
				t.Fatal(err)
			}
			got, err := w.pods.List(genericapirequest.WithNamespace(t.Context(), tc.namespace),
				&metainternalversion.ListOptions{LabelSelector: selector})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, item := range got.(*metrics.PodMetricsList).Items {
				names = append(names, item.Namespace+"/"+item.Name)
			}
			if diff := cmp.Diff(tc.want, names); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// TestErrors checks that a tenant learns what is wrong, and nothing of the host.
func TestErrors(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		status int
		want   string
	}{
		"NoAPI":        {"The host has no metrics server.", 404, "does not serve the metrics API (metrics.k8s.io/v1beta1): ask its operator to install metrics-server there"},
		"NoPermission": {"The permission was taken away.", 403, "no permission for pods.metrics.k8s.io on the host cluster"},
		"Down":         {"The metrics server of the host has ended.", 503, "does not respond: try again later"},
		"Broken":       {"The host fails.", 500, "does not respond: try again later"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, &hostAPI{status: tc.status}, pod("web", "shop", "n1", "app"), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
			_, ofPods := list(t, w.pods, "web")
			_, ofPod := w.pods.Get(genericapirequest.WithNamespace(t.Context(), "web"), "shop", nil)
			_, ofNodes := list(t, w.nodes, "")
			for _, err := range []error{ofPods, ofPod, ofNodes} {
				if !apierrors.IsServiceUnavailable(err) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secret") {
					t.Errorf("%s\ngot %v, want 503 with %q", tc.reason, err, tc.want)
				}
			}
		})
	}
}

// TestRequestsAreShared counts the requests to the host.
func TestRequestsAreShared(t *testing.T) {
	t.Parallel()
	w := newShop(t)
	w.host.block, w.host.asked = make(chan struct{}), make(chan string, 10)
	listPods := func(ctx context.Context) error {
		_, err := w.pods.List(genericapirequest.WithNamespace(ctx, ""), nil)
		return err
	}
	var askers sync.WaitGroup
	impatient, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	askers.Go(func() { left <- listPods(impatient) })
	want := "/apis/metrics.k8s.io/v1beta1/namespaces/tenant-shop/pods?labelSelector=sublet.dev%2Fcluster%3D6d1f"
	if got := <-w.host.asked; !strings.HasPrefix(got, want) {
		t.Errorf("The host was asked for %s, want %s", got, want)
	}
	for range 20 {
		askers.Go(func() {
			if err := listPods(t.Context()); err != nil {
				t.Errorf("one of those who asked at once: %v", err)
			}
		})
	}
	leave()
	if err := <-left; err == nil {
		t.Error("The one that left got an answer before the host gave one")
	}
	close(w.host.block)
	askers.Wait()
	if got := w.host.requests.Load(); got != 1 {
		t.Errorf("21 requests at once are %d of the host, want 1", got)
	}
	for _, step := range []struct {
		reason string
		later  int64 // in seconds
		want   int64
	}{
		{"What the host said a moment ago serves others.", 4, 1},
		{"What it said a while ago does not.", 2, 2},
	} {
		w.clock.SetTime(w.clock.Now().Add(time.Duration(step.later) * time.Second))
		if err := listPods(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.host.requests.Load(); got != step.want {
			t.Errorf("%s\n%d requests, want %d", step.reason, got, step.want)
		}
	}
}

// TestIdleHostIsNotAsked checks that the host gets no request while nobody asks. TestMain fails for
// a goroutine that is left. The only timer forgets an answer.
func TestIdleHostIsNotAsked(t *testing.T) {
	t.Parallel()
	w := newShop(t)
	for range 2 {
		before := w.host.requests.Load()
		w.clock.SetTime(w.clock.Now().Add(time.Hour))
		if got := w.host.requests.Load(); got != before {
			t.Errorf("%d requests of an idle hour", got-before)
		}
		if _, err := w.pods.List(genericapirequest.WithNamespace(t.Context(), ""), nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.host.requests.Load(); got != 2 {
		t.Errorf("%d requests, want one for each time that somebody asked", got)
	}
}

// TestFailuresAreShared checks that a tenant cannot flood a host that fails.
func TestFailuresAreShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, &hostAPI{status: 404}, pod("web", "shop", "n1", "app"))
	for range 100 {
		if _, err := list(t, w.pods, "web"); err == nil {
			t.Fatal("no error although the host has no metrics API")
		}
	}
	if got := w.host.requests.Load(); got != 1 {
		t.Errorf("100 requests of a tenant are %d of the host, want 1", got)
	}
}
