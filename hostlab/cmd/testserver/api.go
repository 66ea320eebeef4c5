package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// The API group of the gauges.
const (
	gaugeGroup = "aggregated.example.com"
	gaugeRoot  = "/apis/" + gaugeGroup + "/v1"
)

// gaugeResources is what discovery has of the group.
const gaugeResources = `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"` + gaugeGroup + `/v1","resources":[
{"name":"gauges","singularName":"gauge","namespaced":true,"kind":"Gauge","shortNames":["gg"],"categories":["dials"],
 "verbs":["create","delete","get","list","patch","watch"]},
{"name":"gauges/status","singularName":"","namespaced":true,"kind":"Gauge","verbs":["get","patch"]}]}`

// gaugeDocument is the OpenAPI document of the group, in the form that Go types have.
const gaugeDocument = `{"openapi":"3.0.0","info":{"title":"gauges","version":"v1"},"paths":{
"` + gaugeRoot + `/namespaces/{namespace}/gauges":{"get":{"responses":{},
 "x-kubernetes-group-version-kind":{"group":"` + gaugeGroup + `","version":"v1","kind":"Gauge"}}}},"components":{"schemas":{
"com.example.Gauge":{"type":"object","description":"Gauge measures a thing.",
 "x-kubernetes-group-version-kind":[{"group":"` + gaugeGroup + `","version":"v1","kind":"Gauge"}],"properties":{
 "apiVersion":{"type":"string"},"kind":{"type":"string"},
 "metadata":{"default":{},"allOf":[{"$ref":"#/components/schemas/io.k8s.ObjectMeta"}]},
 "spec":{"default":{},"allOf":[{"$ref":"#/components/schemas/com.example.GaugeSpec"}]},
 "status":{"default":{},"allOf":[{"$ref":"#/components/schemas/com.example.GaugeStatus"}]}}},
"com.example.GaugeSpec":{"type":"object","required":["size"],"properties":{
 "size":{"type":"integer","format":"int32","default":0,"description":"Size of the thing."},
 "secretName":{"type":"string"},"peerRef":{"type":"object","properties":{"name":{"type":"string"}}}}},
"com.example.GaugeStatus":{"type":"object","required":["marks"],"properties":{
 "phase":{"type":"string"},"marks":{"type":"array","items":{"type":"string","default":""}}}},
"io.k8s.ObjectMeta":{"type":"object","properties":{"name":{"type":"string"}}}}}}`

// serveGauges serves an API of one kind, for a host that aggregates it. Its objects are in
// memory.
func serveGauges(ctx context.Context, flags *flag.FlagSet, args []string) error {
	address := flags.String("https", ":8443", "address for HTTPS")
	if err := flags.Parse(args); err != nil {
		return err
	}
	certificate, err := pki.SelfSigned(time.Now(), certificateLife, "testserver")
	if err != nil {
		return err
	}
	server := &http.Server{
		Addr: *address, Handler: newGauges().handler(), ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServeTLS("", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve on %s: %w", *address, err)
	}
	return nil
}

// certificateLife is longer than any test runs. Nobody verifies the certificate.
const certificateLife = 365 * 24 * time.Hour

// gauges stores objects. Their resource version is the number of events until then.
type gauges struct {
	mu      sync.Mutex
	objects map[string]*unstructured.Unstructured // namespace/name -> object
	events  []gaugeEvent
	changed chan struct{} // closed at the next event
}

// gaugeEvent is an event of a watch.
type gaugeEvent struct {
	Type   string                     `json:"type"`
	Object *unstructured.Unstructured `json:"object"`
}

func newGauges() *gauges {
	return &gauges{objects: map[string]*unstructured.Unstructured{}, changed: make(chan struct{})}
}

// handler serves the API.
func (g *gauges) handler() http.Handler {
	mux := http.NewServeMux()
	for path, document := range map[string]string{
		gaugeRoot:                 gaugeResources,
		"/openapi/v3":             `{"paths":{"` + gaugeRoot[1:] + `":{"serverRelativeURL":"/openapi/v3` + gaugeRoot + `?hash=1"}}}`,
		"/openapi/v3" + gaugeRoot: gaugeDocument,
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, document)
		})
	}
	all := gaugeRoot + "/namespaces/{namespace}/gauges"
	mux.HandleFunc("GET "+gaugeRoot+"/gauges", g.list)
	mux.HandleFunc("GET "+all, g.list)
	mux.HandleFunc("POST "+all, answer(g.create))
	mux.HandleFunc("GET "+all+"/{name}", answer(g.get))
	mux.HandleFunc("GET "+all+"/{name}/status", answer(g.get))
	mux.HandleFunc("DELETE "+all+"/{name}", answer(g.delete))
	mux.HandleFunc("PATCH "+all+"/{name}", answer(func(r *http.Request) (any, error) { return g.patch(r, "status") }))
	mux.HandleFunc("PATCH "+all+"/{name}/status", answer(func(r *http.Request) (any, error) { return g.patch(r, "spec") }))
	return mux
}

// answer writes what a function returns.
func answer(serve func(r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		object, err := serve(r)
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			var status apierrors.APIStatus
			if !errors.As(err, &status) {
				status = apierrors.NewBadRequest(err.Error())
			}
			failure := status.Status()
			failure.Kind, failure.APIVersion = "Status", "v1"
			w.WriteHeader(int(failure.Code))
			object = failure
		}
		_ = json.NewEncoder(w).Encode(object)
	}
}

// record stores an event. The caller holds the lock.
func (g *gauges) record(kind string, object *unstructured.Unstructured) *unstructured.Unstructured {
	object.SetResourceVersion(strconv.Itoa(len(g.events) + 1))
	g.events = append(g.events, gaugeEvent{kind, object})
	close(g.changed)
	g.changed = make(chan struct{})
	return object
}

func keyOf(r *http.Request) string { return r.PathValue("namespace") + "/" + r.PathValue("name") }

// find returns an object. The caller holds the lock.
func (g *gauges) find(r *http.Request) (*unstructured.Unstructured, error) {
	if object, ok := g.objects[keyOf(r)]; ok {
		return object, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Group: gaugeGroup, Resource: "gauges"}, r.PathValue("name"))
}

func (g *gauges) get(r *http.Request) (any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.find(r)
}

func (g *gauges) create(r *http.Request) (any, error) {
	object := &unstructured.Unstructured{}
	if err := json.NewDecoder(r.Body).Decode(object); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	r.SetPathValue("name", object.GetName())
	if _, err := g.find(r); err == nil {
		return nil, apierrors.NewAlreadyExists(schema.GroupResource{Group: gaugeGroup, Resource: "gauges"}, object.GetName())
	}
	object.SetNamespace(r.PathValue("namespace"))
	object.SetUID(uuid.NewUUID())
	object.SetCreationTimestamp(metav1.Now())
	object.Object["status"] = map[string]any{"marks": nil} // as a Go type writes it
	g.objects[keyOf(r)] = object
	return g.record("ADDED", object), nil
}

// patch merges a patch into an object, without the field kept.
func (g *gauges) patch(r *http.Request, kept string) (any, error) {
	patch, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	before, err := g.find(r)
	if err != nil {
		return nil, err
	}
	text, err := before.MarshalJSON()
	if err != nil {
		return nil, err
	}
	merged, err := jsonpatch.MergePatch(text, patch)
	if err != nil {
		return nil, err
	}
	after := &unstructured.Unstructured{}
	if err := after.UnmarshalJSON(merged); err != nil {
		return nil, err
	}
	if after.GetResourceVersion() != before.GetResourceVersion() || after.GetUID() != before.GetUID() {
		return nil, apierrors.NewConflict(schema.GroupResource{Group: gaugeGroup, Resource: "gauges"}, before.GetName(), errors.New("it has changed"))
	}
	after.Object[kept] = before.Object[kept]
	g.objects[keyOf(r)] = after
	return g.record("MODIFIED", after), nil
}

func (g *gauges) delete(r *http.Request) (any, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	object, err := g.find(r)
	if err != nil {
		return nil, err
	}
	delete(g.objects, keyOf(r))
	return g.record("DELETED", object.DeepCopy()), nil
}

// list lists objects, or watches them.
func (g *gauges) list(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("watch") != "" {
		g.watch(w, r)
		return
	}
	answer(func(r *http.Request) (any, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		items := []any{}
		for _, key := range slices.Sorted(maps.Keys(g.objects)) {
			if object := g.objects[key]; isIn(object, r) {
				items = append(items, object.Object)
			}
		}
		version := map[string]any{"resourceVersion": strconv.Itoa(len(g.events))}
		return map[string]any{"kind": "GaugeList", "apiVersion": gaugeGroup + "/v1", "metadata": version, "items": items}, nil
	})(w, r)
}

// isIn reports whether an object is in the namespace of a request.
func isIn(object *unstructured.Unstructured, r *http.Request) bool {
	namespace := r.PathValue("namespace")
	return namespace == "" || object.GetNamespace() == namespace
}

// watch writes events until the client leaves.
func (g *gauges) watch(w http.ResponseWriter, r *http.Request) {
	next, err := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	if err != nil || r.URL.Query().Get("sendInitialEvents") != "" {
		answer(func(*http.Request) (any, error) {
			return nil, apierrors.NewInvalid(schema.GroupKind{Group: gaugeGroup, Kind: "Gauge"}, "", nil)
		})(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	encoder, flusher := json.NewEncoder(w), http.NewResponseController(w)
	for {
		g.mu.Lock()
		if next > len(g.events) {
			g.mu.Unlock()
			if err := encoder.Encode(map[string]any{"type": "ERROR", "object": apierrors.NewResourceExpired("restarted").Status()}); err != nil {
				fmt.Printf("cannot end a watch: %v\n", err)
			}
			return
		}
		events, changed := g.events[next:], g.changed
		g.mu.Unlock()
		for _, event := range events {
			if !isIn(event.Object, r) {
				continue
			}
			if err := encoder.Encode(event); err != nil {
				return
			}
		}
		next += len(events)
		_ = flusher.Flush()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}
