package syncer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// InformerMonitor observes the lists and watches of the shared informers of the virtual cluster,
// in the transport of their client. Their owner creates the informers, so the engine cannot
// observe the lists and watches themselves. An idle watch costs nothing.
type InformerMonitor struct {
	scheme *runtime.Scheme
	clock  clock.PassiveClock
	log    logr.Logger

	mu  sync.Mutex
	all map[string]*watchHealth // path of the list -> its health
}

// NewInformerMonitor returns a monitor. It outlives the engines that use it.
func NewInformerMonitor() *InformerMonitor {
	return newInformerMonitor(clock.RealClock{}, klog.Background().WithName("syncer"))
}

func newInformerMonitor(c clock.PassiveClock, log logr.Logger) *InformerMonitor {
	return &InformerMonitor{scheme: scheme.Scheme, clock: c, log: log, all: map[string]*watchHealth{}}
}

// Wrap returns a transport that observes the lists and watches of next. Nobody else may use the
// client: requests for the same lists would count.
func (m *InformerMonitor) Wrap(next http.RoundTripper) http.RoundTripper {
	return &observedTransport{next, m}
}

// healthOf returns the health of the informer of a resource, nil if m is nil.
func (m *InformerMonitor) healthOf(resource schema.GroupVersionResource) *watchHealth {
	if m == nil {
		return nil
	}
	path := "/apis/" + resource.Group + "/" + resource.Version + "/" + resource.Resource
	if resource.Group == "" {
		path = "/api/" + resource.Version + "/" + resource.Resource
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	health, ok := m.all[path]
	if !ok {
		label := m.kindOf(resource)
		health = newWatchHealth(Virtual.String()+" "+label, m.clock, m.log, newWatchMeters(Virtual.String(), label), func() error { return nil })
		health.graceUntil = m.clock.Now().Add(failureLogPeriod) // Informers start before the API server is ready.
		m.all[path] = health
	}
	return health
}

// kindOf returns the kind of a resource, or its name if the scheme does not know it.
func (m *InformerMonitor) kindOf(resource schema.GroupVersionResource) string {
	for kind := range m.scheme.KnownTypes(resource.GroupVersion()) {
		if plural, _ := meta.UnsafeGuessKindToResource(resource.GroupVersion().WithKind(kind)); plural == resource {
			return kind
		}
	}
	return resource.Resource
}

// parseListPath returns the resource that a path lists in all namespaces. ok is false for any
// other path.
func parseListPath(path string) (resource schema.GroupVersionResource, ok bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	switch {
	case len(parts) == 3 && parts[0] == "api":
		return schema.GroupVersionResource{Version: parts[1], Resource: parts[2]}, true
	case len(parts) == 4 && parts[0] == "apis":
		return schema.GroupVersionResource{Group: parts[1], Version: parts[2], Resource: parts[3]}, true
	}
	return resource, false
}

// observedTransport is a transport whose lists and watches a monitor records.
type observedTransport struct {
	next    http.RoundTripper
	monitor *InformerMonitor
}

// RoundTrip implements http.RoundTripper.
func (t *observedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resource, ok := parseListPath(req.URL.Path)
	if req.Method != http.MethodGet || !ok {
		return t.next.RoundTrip(req)
	}
	health := t.monitor.healthOf(resource)
	if isWatch, _ := strconv.ParseBool(req.URL.Query().Get("watch")); isWatch {
		return t.watch(req, health, resource)
	}
	response, err := t.next.RoundTrip(req)
	if failure := failureOf(response, err, resource); failure != nil {
		health.recordFailure(req.Context(), fmt.Errorf("cannot list: %w", failure))
	} else {
		health.recordActivity()
	}
	return response, err
}

// watch opens a watch whose body is observed.
func (t *observedTransport) watch(req *http.Request, health *watchHealth, resource schema.GroupVersionResource) (*http.Response, error) {
	ctx := req.Context()
	limited, cancel := context.WithCancel(ctx)
	attempt := health.begin(cancel, nil)
	response, err := t.next.RoundTrip(req.WithContext(limited))
	if failure := failureOf(response, err, resource); failure != nil {
		if isUnsupportedStream := err == nil && response.StatusCode == http.StatusUnprocessableEntity; !isUnsupportedStream {
			health.recordFailure(ctx, fmt.Errorf("cannot watch: %w", failure)) // Otherwise, a list follows.
		}
		if err != nil {
			health.finish(attempt)
			return nil, err
		}
		response.Body = &observedBody{ReadCloser: response.Body, end: func() { health.finish(attempt) }, onRead: func() {}}
		return response, nil
	}
	health.recordOpen(attempt)
	response.Body = &observedBody{
		ReadCloser: response.Body,
		onRead:     func() { health.recordBytes(attempt) },
		end:        sync.OnceFunc(func() { health.recordBodyEnd(ctx, attempt) }),
	}
	return response, nil
}

// failureOf returns why a request has failed, nil if it has not.
func failureOf(response *http.Response, err error, resource schema.GroupVersionResource) error {
	switch {
	case err != nil:
		return err
	case response.StatusCode < http.StatusBadRequest:
		return nil
	case response.StatusCode == http.StatusGone:
		return apierrors.NewResourceExpired(response.Status)
	}
	return apierrors.NewGenericServerResponse(response.StatusCode, "get", resource.GroupResource(), "", response.Status, 0, true)
}

// observedBody is the body of a watch.
type observedBody struct {
	io.ReadCloser
	onRead func()
	end    func()
}

// Read implements io.Reader.
func (b *observedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.onRead()
	}
	if err != nil {
		b.end()
	}
	return n, err
}

// Close implements io.Closer.
func (b *observedBody) Close() error {
	b.end()
	return b.ReadCloser.Close()
}

// recordBytes records that a watch has got something. In a watch that has just been opened this
// may be the error that ends it, so it is no proof that the watch works.
func (h *watchHealth) recordBytes(attempt *openWatch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lastActivity = h.clock.Now()
	h.meters.activity.Set(float64(h.lastActivity.Unix()))
	if h.lastActivity.Sub(attempt.since) >= watchSettle {
		h.endedAtOnce = false
		h.recordSuccess()
	}
}

// recordBodyEnd records that a watch has ended. A server may end one early, as after an expired
// version. Two in a row that do not settle are a failure.
func (h *watchHealth) recordBodyEnd(ctx context.Context, attempt *openWatch) {
	h.finish(attempt)
	h.mu.Lock()
	before := h.endedAtOnce
	h.endedAtOnce = h.clock.Since(attempt.since) < watchSettle
	fails := before && h.endedAtOnce
	h.mu.Unlock()
	if fails {
		h.recordFailure(ctx, errors.New("the watch ends at once"))
	}
}
