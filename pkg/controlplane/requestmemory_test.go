package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// largeMaps and largeMap are the number of ConfigMaps and their size in bytes. Their sum is more than the sockets of a
// connection hold.
const (
	largeMaps = 24
	largeMap  = 1 << 20
)

// openList requests all ConfigMaps of a namespace, or their watch, and reads nothing of the answer.
func (p *plane) openList(t *testing.T, query string) (end func()) {
	t.Helper()
	config := p.kubeconfig(t, "tenant", pki.GroupAdmins)
	pair, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(config.CAData)
	conn, err := tls.Dial("tcp", p.address, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "GET /api/v1/namespaces/large/configmaps?%s HTTP/1.1\r\nHost: sublet\r\n\r\n", query); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 1)
	if _, err := conn.Read(first); err != nil {
		t.Fatal(err)
	}
	return func() { _ = conn.Close() }
}

// shortOfMemory returns how many requests had some outcome.
func shortOfMemory(t *testing.T, outcome string) float64 {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "sublet_requests_short_of_memory_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			if metric.GetLabel()[0].GetValue() == outcome {
				return metric.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// newLargePlane returns a control plane whose requests have little memory, and which has many large ConfigMaps.
func newLargePlane(t *testing.T) (*plane, kubernetes.Interface) {
	t.Helper()
	p := startPlane(t, Config{requestMemory: func() int64 { return 8 << 20 }})
	if _, err := p.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "large"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for i := range largeMaps {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("map-%02d", i)}, Data: map[string]string{"text": strings.Repeat("x", largeMap-1024)}}
		if _, err := p.client.CoreV1().ConfigMaps("large").Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return p, kubernetes.NewForConfigOrDie(p.kubeconfig(t, "tenant", pki.GroupAdmins))
}

// countLarge returns the number of the large ConfigMaps in a list.
func countLarge(list *corev1.ConfigMapList) int {
	count := 0
	for _, item := range list.Items {
		if strings.HasPrefix(item.Name, "map-") {
			count++
		}
	}
	return count
}

// TestRequestMemory lists large objects while others read their answers slowly. It waits for memory instead of
// taking more.
func TestRequestMemory(t *testing.T) {
	t.Parallel()
	p, client := newLargePlane(t)
	endList := p.openList(t, "")
	type answer struct {
		count int
		err   error
	}
	before, second := shortOfMemory(t, "delayed"), make(chan answer, 1)
	go func() {
		list, err := client.CoreV1().ConfigMaps("large").List(context.WithoutCancel(t.Context()), metav1.ListOptions{})
		second <- answer{countLarge(list), err}
	}()
	eventually(t, "a second list waits", func(context.Context) string {
		if shortOfMemory(t, "delayed") == before {
			return "it does not"
		}
		return ""
	})
	if _, err := client.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("small objects are listed meanwhile: %v", err)
	}
	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "small"}}, metav1.CreateOptions{}); err != nil {
		t.Errorf("and created: %v", err)
	}
	select {
	case got := <-second:
		t.Errorf("the second list got %d objects and %v before the first one has ended", got.count, got.err)
	default:
	}
	if list, err := p.client.CoreV1().ConfigMaps("large").List(t.Context(), metav1.ListOptions{}); err != nil || countLarge(list) != largeMaps {
		t.Errorf("a part of the process does not wait: %d objects, %v", countLarge(list), err)
	}
	endList()
	if got := <-second; got.err != nil || got.count != largeMaps {
		t.Errorf("then the second list gets %d objects and %v, want %d", got.count, got.err, largeMaps)
	}
}

// TestCustomResourceMemory lists large custom resources while another request takes the memory. A list at any version
// waits too, because the handler copies what a watch cache has.
func TestCustomResourceMemory(t *testing.T) {
	t.Parallel()
	p, _ := newLargePlane(t)
	storeDefinition(t, p, definition("memory.example.com", "gadgets", "Gadget"))
	resource := schema.GroupVersionResource{Group: "memory.example.com", Version: "v1", Resource: "gadgets"}
	own := dynamic.NewForConfigOrDie(p.ClientConfig("admin", pki.GroupAdmins)).Resource(resource).Namespace("large")
	for _, name := range []string{"one", "two"} {
		eventually(t, "a custom resource", func(ctx context.Context) string {
			_, err := own.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": "memory.example.com/v1", "kind": "Gadget", "metadata": map[string]any{"name": name},
				"text": strings.Repeat("x", largeMap*3/4), // Both count as 12 MiB, with a limit of 8 MiB.
			}}, metav1.CreateOptions{})
			if err != nil {
				return err.Error()
			}
			return ""
		})
	}
	gadgets := dynamic.NewForConfigOrDie(p.kubeconfig(t, "tenant", pki.GroupAdmins)).Resource(resource).Namespace("large")
	anyVersion := metav1.ListOptions{ResourceVersion: "0"}
	page, err := gadgets.List(t.Context(), metav1.ListOptions{ResourceVersion: "0", Limit: 1})
	if err != nil || len(page.Items) != 1 || page.GetContinue() == "" {
		t.Fatalf("a page is not that of the store: %v", err)
	}
	page, err = gadgets.List(t.Context(), metav1.ListOptions{Limit: 1, Continue: page.GetContinue()})
	if err != nil || len(page.Items) != 1 || page.GetContinue() != "" {
		t.Fatalf("the next page is not the last one: %v", err)
	}
	options := metav1.ListOptions{ResourceVersion: page.GetResourceVersion(), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan}
	if list, err := gadgets.List(t.Context(), options); err != nil || len(list.Items) != 2 {
		t.Errorf("a list that is not older than the page: %v", err)
	}

	endList := p.openList(t, "")
	listed := make(chan error, 1)
	before := shortOfMemory(t, "delayed")
	go func() {
		list, err := gadgets.List(context.WithoutCancel(t.Context()), anyVersion)
		if err == nil && len(list.Items) != 2 {
			err = fmt.Errorf("got %d objects", len(list.Items))
		}
		listed <- err
	}()
	eventually(t, "the list waits", func(context.Context) string {
		if shortOfMemory(t, "delayed") == before {
			return "it does not"
		}
		return ""
	})
	select {
	case err := <-listed:
		t.Fatalf("the list ended before there was room: %v", err)
	default:
	}
	if list, err := own.List(t.Context(), anyVersion); err != nil || len(list.Items) != 2 {
		t.Errorf("a part of the process does not wait: %v", err)
	}
	endList()
	if err := <-listed; err != nil {
		t.Errorf("then the list ends: %v", err)
	}
}

// TestWatchMemory begins watches that read nothing. They end when another request needs the memory.
func TestWatchMemory(t *testing.T) {
	t.Parallel()
	p, client := newLargePlane(t)
	before := shortOfMemory(t, "ended")
	for range 3 {
		p.openList(t, "watch=true")
	}
	eventually(t, "all are listed", func(ctx context.Context) string {
		list, err := client.CoreV1().ConfigMaps("large").List(ctx, metav1.ListOptions{})
		if err != nil || countLarge(list) != largeMaps {
			return fmt.Sprintf("%d objects, %v", countLarge(list), err)
		}
		return ""
	})
	eventually(t, "watches end", func(context.Context) string {
		if shortOfMemory(t, "ended") == before {
			return "none has"
		}
		return ""
	})
}

// TestPagedReads compares lists of a tenant with those of a part of the process, which are read at once.
func TestPagedReads(t *testing.T) {
	t.Parallel()
	p := startPlane(t, Config{})
	for i := range 100 {
		object := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("secret-%02d", i), Labels: map[string]string{"odd": fmt.Sprint(i % 2)}}}
		if _, err := p.client.CoreV1().Secrets("default").Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	tenant := kubernetes.NewForConfigOrDie(p.kubeconfig(t, "tenant", pki.GroupAdmins))
	for name, options := range map[string]metav1.ListOptions{
		"All":      {},
		"Limit":    {Limit: 50},
		"Labels":   {LabelSelector: "odd=1", Limit: 40},
		"NoLimit":  {LabelSelector: "odd=1"},
		"OnePage":  {Limit: 10},
		"AllLimit": {Limit: 500},
	} {
		for {
			want, err := p.client.CoreV1().Secrets("default").List(t.Context(), options)
			if err != nil {
				t.Fatal(err)
			}
			got, err := tenant.CoreV1().Secrets("default").List(t.Context(), options)
			if err != nil {
				t.Fatal(err)
			}
			describe := func(list *corev1.SecretList) string {
				var names []string
				for _, item := range list.Items {
					names = append(names, item.Name)
				}
				remaining := int64(-1)
				if list.RemainingItemCount != nil {
					remaining = *list.RemainingItemCount
				}
				return fmt.Sprint(names, remaining, list.Continue != "")
			}
			if describe(got) != describe(want) {
				t.Errorf("%s: got %s, want %s", name, describe(got), describe(want))
			}
			if options.Continue = want.Continue; options.Continue == "" {
				break
			}
		}
	}
}

// TestManyRequests opens watches until there are too many. Other users still get answers.
func TestManyRequests(t *testing.T) {
	t.Parallel()
	const most = 32
	p := startPlane(t, Config{requestMemory: func() int64 { return most * (64 << 10) }})
	config := p.kubeconfig(t, "tenant", pki.GroupAdmins)
	config.QPS = -1
	client := kubernetes.NewForConfigOrDie(config)
	var opened int
	var err error
	for ; err == nil && opened <= most; opened++ {
		var stream watch.Interface
		if stream, err = client.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{}); err == nil {
			t.Cleanup(stream.Stop)
		}
	}
	if !apierrors.IsTooManyRequests(err) {
		t.Errorf("after %d watches: %v, want code 429", opened, err)
	}
	other := kubernetes.NewForConfigOrDie(p.kubeconfig(t, "other", pki.GroupAdmins))
	if _, err := other.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("another user: %v", err)
	}
}

// TestManyWrappedRequests sends requests that the wrapper of the API answers, until there are too many.
func TestManyWrappedRequests(t *testing.T) {
	t.Parallel()
	const most, path = 32, "/api/v1/nodes/n1/proxy/metrics/resource"
	begun := make(chan error, most)
	p := startPlane(t, Config{
		requestMemory: func() int64 { return most * (64 << 10) },
		WrapAPI: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if req.URL.Path != path {
					next.ServeHTTP(w, req)
					return
				}
				begun <- http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Hour))
				<-req.Context().Done()
			})
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer cancel()
	client := kubernetes.NewForConfigOrDie(p.kubeconfig(t, "tenant", pki.GroupAdmins)).CoreV1().RESTClient()
	for opened := range most + 1 {
		ended := make(chan error, 1)
		clients.Go(func() { ended <- client.Get().AbsPath(path).MaxRetries(0).Do(ctx).Error() })
		select {
		case err := <-begun:
			if err != nil {
				t.Errorf("the wrapper cannot bound how long a client reads: %v", err)
			}
		case err := <-ended:
			if !apierrors.IsTooManyRequests(err) {
				t.Errorf("after %d requests: %v, want code 429", opened, err)
			}
			return
		}
	}
	t.Errorf("more than %d requests at a time", most)
}
