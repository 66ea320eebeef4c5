package syncer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fakeServer is an API server in memory with the rules that the engine relies on. It
// has UIDs, versions, preconditions, finalizers, a status apart from the rest, and
// deletes bound pods gracefully.
type fakeServer struct {
	client.Client // panics for whatever the engine should not use

	name  string
	clock clock.PassiveClock
	// before is asked before each request that writes; its error is the answer.
	before func(verb string, object client.Object) error
	// changed is told of each object that a request has changed or removed.
	changed func(object client.Object)

	mu sync.Mutex
	// lacks are the subresources that the server does not know.
	lacks    []string
	version  int
	objects  map[fakeKey]client.Object
	requests []string
}

type fakeKey struct {
	kind reflect.Type
	key  types.NamespacedName
}

func newFakeServer(name string, c clock.PassiveClock, objects ...client.Object) *fakeServer {
	s := &fakeServer{name: name, clock: c, objects: map[fakeKey]client.Object{}, changed: func(client.Object) {}}
	for _, o := range objects {
		s.add(o)
	}
	return s
}

func keyOf(o client.Object) fakeKey {
	return fakeKey{reflect.TypeOf(o), client.ObjectKeyFromObject(o)}
}

// add stores an object as it is, with a version and a UID of its own.
func (s *fakeServer) add(o client.Object) client.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	o = deepCopy(o)
	s.version++
	if o.GetUID() == "" {
		o.SetUID(types.UID(fmt.Sprintf("%s-%d", s.name, s.version)))
	}
	if at := o.GetCreationTimestamp(); at.IsZero() {
		o.SetCreationTimestamp(metav1.NewTime(s.clock.Now()))
	}
	o.SetResourceVersion(strconv.Itoa(s.version))
	s.objects[keyOf(o)] = o
	return o
}

// removeNow removes an object at once, as if it had never been.
func (s *fakeServer) removeNow(o client.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, keyOf(o))
}

// get returns the object of the type of like under a key, nil if there is none.
func (s *fakeServer) get(like client.Object, key types.NamespacedName) client.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.objects[fakeKey{reflect.TypeOf(like), key}]; ok {
		return deepCopy(o)
	}
	return nil
}

// list returns every object of the type of like that has the labels.
func (s *fakeServer) list(like client.Object, selector apilabels.Selector) []client.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []client.Object
	for key, o := range s.objects {
		if key.kind == reflect.TypeOf(like) && selector.Matches(apilabels.Set(o.GetLabels())) {
			found = append(found, deepCopy(o))
		}
	}
	return found
}

// admit counts a request and asks whether it may continue. The caller holds the lock.
func (s *fakeServer) admit(verb string, o client.Object) error {
	s.requests = append(s.requests, verb)
	if s.before == nil || verb == "get" {
		return nil
	}
	return s.before(verb, o)
}

func resource(o client.Object) schema.GroupResource {
	return schema.GroupResource{Resource: reflect.TypeOf(o).Elem().Name()}
}

func (s *fakeServer) find(o client.Object) (client.Object, error) {
	found, ok := s.objects[keyOf(o)]
	if !ok {
		return nil, apierrors.NewNotFound(resource(o), o.GetName())
	}
	return found, nil
}

func into(from, to client.Object) {
	reflect.ValueOf(to).Elem().Set(reflect.ValueOf(deepCopy(from)).Elem())
}

func (s *fakeServer) Get(_ context.Context, key client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.SetNamespace(key.Namespace)
	o.SetName(key.Name)
	if err := s.admit("get", o); err != nil {
		return err
	}
	found, err := s.find(o)
	if err == nil {
		into(found, o)
	}
	return err
}

func (s *fakeServer) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	opts := client.ListOptions{}
	opts.ApplyOptions(options)
	if opts.FieldSelector != nil {
		return apierrors.NewBadRequest("an API server has no indexes")
	}
	s.requests = append(s.requests, "get")
	list.SetResourceVersion(strconv.Itoa(s.version))
	items := reflect.ValueOf(list).Elem().FieldByName("Items")
	for key, o := range s.objects {
		if key.kind.Elem() != items.Type().Elem() || opts.Namespace != "" && o.GetNamespace() != opts.Namespace ||
			opts.LabelSelector != nil && !opts.LabelSelector.Matches(apilabels.Set(o.GetLabels())) {
			continue
		}
		items.Set(reflect.Append(items, reflect.ValueOf(deepCopy(o)).Elem()))
	}
	return nil
}

func (s *fakeServer) Create(_ context.Context, o client.Object, options ...client.CreateOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admit("create", o); err != nil {
		return err
	}
	if _, exists := s.objects[keyOf(o)]; exists {
		return apierrors.NewAlreadyExists(resource(o), o.GetName())
	}
	s.version++
	o.SetUID(types.UID(fmt.Sprintf("%s-%d", s.name, s.version)))
	o.SetResourceVersion(strconv.Itoa(s.version))
	o.SetCreationTimestamp(metav1.NewTime(s.clock.Now()))
	if service, ok := o.(*corev1.Service); ok && service.Spec.ClusterIP == "" {
		service.Spec.ClusterIP = fmt.Sprintf("10.0.0.%d", s.version)
	}
	opts := client.CreateOptions{}
	opts.ApplyOptions(options)
	if len(opts.DryRun) == 0 {
		s.objects[keyOf(o)] = deepCopy(o)
	}
	return nil
}

func (s *fakeServer) Update(_ context.Context, o client.Object, _ ...client.UpdateOption) error {
	return s.update("update", o, false)
}

// update stores an object, or just its status, unless it was changed meanwhile.
func (s *fakeServer) update(verb string, o client.Object, status bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admit(verb, o); err != nil {
		return err
	}
	found, err := s.find(o)
	if err != nil {
		return err
	}
	if o.GetUID() != found.GetUID() || o.GetResourceVersion() != found.GetResourceVersion() {
		return apierrors.NewConflict(resource(o), o.GetName(), fmt.Errorf("it has changed"))
	}
	next := deepCopy(o)
	if status {
		next = deepCopy(found)
		copyStatus(next, o)
	} else {
		copyStatus(next, found)
	}
	s.store(found, next)
	into(s.stored(next), o)
	return nil
}

// stored returns the stored state of an object that may be gone by now.
func (s *fakeServer) stored(o client.Object) client.Object {
	if found, ok := s.objects[keyOf(o)]; ok {
		return found
	}
	return o
}

// store replaces an object if it differs, and removes it when nothing keeps it.
func (s *fakeServer) store(before, after client.Object) {
	if equality.Semantic.DeepEqual(before, after) {
		return
	}
	s.changed(after)
	s.version++
	after.SetResourceVersion(strconv.Itoa(s.version))
	grace := after.GetDeletionGracePeriodSeconds()
	if isTerminating(after) && len(after.GetFinalizers()) == 0 && (grace == nil || *grace == 0) {
		delete(s.objects, keyOf(after))
		return
	}
	s.objects[keyOf(after)] = deepCopy(after)
}

func (s *fakeServer) Patch(_ context.Context, o client.Object, patch client.Patch, options ...client.PatchOption) error {
	opts := client.PatchOptions{}
	opts.ApplyOptions(options)
	return s.patch("patch", o, patch, len(opts.DryRun) > 0)
}

func (s *fakeServer) patch(verb string, o client.Object, patch client.Patch, dryRun bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admit(verb, o); err != nil {
		return err
	}
	found, err := s.find(o)
	if err != nil {
		return err
	}
	data, err := patch.Data(o)
	if err != nil {
		return err
	}
	var bound struct {
		Metadata struct {
			UID             types.UID `json:"uid"`
			ResourceVersion string    `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(data, &bound); err != nil {
		return err
	}
	if version := bound.Metadata.ResourceVersion; version != "" && version != found.GetResourceVersion() {
		return apierrors.NewConflict(resource(o), o.GetName(), fmt.Errorf("it has changed"))
	}
	if bound.Metadata.UID != found.GetUID() {
		return apierrors.NewConflict(resource(o), o.GetName(), fmt.Errorf("another UID"))
	}
	document, err := json.Marshal(found)
	if err != nil {
		return err
	}
	merged, err := jsonpatch.MergePatch(document, data)
	if err != nil {
		return err
	}
	next := newEmpty(found)
	if err := json.Unmarshal(merged, next); err != nil {
		return err
	}
	if !dryRun {
		s.store(found, next)
		next = s.stored(next)
	}
	into(next, o)
	return nil
}

func (s *fakeServer) Delete(_ context.Context, o client.Object, options ...client.DeleteOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admit("delete", o); err != nil {
		return err
	}
	found, err := s.find(o)
	if err != nil {
		return err
	}
	opts := client.DeleteOptions{}
	opts.ApplyOptions(options)
	if p := opts.Preconditions; p != nil && (p.UID != nil && *p.UID != found.GetUID() ||
		p.ResourceVersion != nil && *p.ResourceVersion != found.GetResourceVersion()) {
		return apierrors.NewConflict(resource(o), o.GetName(), fmt.Errorf("precondition failed"))
	}
	grace := int64(0)
	if pod, ok := found.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
		grace = 30
		if opts.GracePeriodSeconds != nil {
			grace = *opts.GracePeriodSeconds
		}
	}
	if grace == 0 && len(found.GetFinalizers()) == 0 {
		s.changed(found)
		delete(s.objects, keyOf(found))
		return nil
	}
	if isTerminating(found) && !isShorter(&grace, found.GetDeletionGracePeriodSeconds()) {
		return nil
	}
	next := deepCopy(found)
	now := metav1.NewTime(s.clock.Now().Truncate(time.Second))
	next.SetDeletionTimestamp(&now)
	next.SetDeletionGracePeriodSeconds(&grace)
	s.store(found, next)
	return nil
}

func (s *fakeServer) Status() client.SubResourceWriter { return &fakeSub{server: s, name: "status"} }

func (s *fakeServer) SubResource(name string) client.SubResourceClient {
	return &fakeSub{server: s, name: name}
}

// fakeSub is a subresource of a fakeServer.
type fakeSub struct {
	client.SubResourceClient
	server *fakeServer
	name   string
}

// errorIfMissing answers as an API server without the subresource.
func (f *fakeSub) errorIfMissing(o client.Object) error {
	if slices.Contains(f.server.lacks, f.name) {
		return apierrors.NewGenericServerResponse(http.StatusNotFound, "patch", resource(o), o.GetName(), "404 page not found", 0, true)
	}
	return nil
}

func (f *fakeSub) Update(_ context.Context, o client.Object, _ ...client.SubResourceUpdateOption) error {
	if err := f.errorIfMissing(o); err != nil {
		return err
	}
	return f.server.update("update "+f.name, o, true)
}

func (f *fakeSub) Patch(_ context.Context, o client.Object, patch client.Patch, _ ...client.SubResourcePatchOption) error {
	if err := f.errorIfMissing(o); err != nil {
		return err
	}
	return f.server.patch("patch "+f.name, o, patch, false)
}

func (f *fakeSub) Create(_ context.Context, o, sub client.Object, _ ...client.SubResourceCreateOption) error {
	f.server.mu.Lock()
	defer f.server.mu.Unlock()
	if err := f.server.admit("create "+f.name, o); err != nil {
		return err
	}
	found, err := f.server.find(o)
	if err != nil {
		return err
	}
	if uid := sub.GetUID(); uid != "" && uid != found.GetUID() {
		return apierrors.NewConflict(resource(o), o.GetName(), fmt.Errorf("precondition failed"))
	}
	pod := deepCopy(found).(*corev1.Pod)
	if pod.Spec.NodeName != "" || isTerminating(pod) {
		return apierrors.NewConflict(resource(o), o.GetName(), fmt.Errorf("pod is bound"))
	}
	pod.Spec.NodeName = sub.(*corev1.Binding).Target.Name
	f.server.store(found, pod)
	return nil
}
