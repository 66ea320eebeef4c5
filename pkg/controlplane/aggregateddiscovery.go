package controlplane

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"slices"
	"sync"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	discoveryendpoint "k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/util/responsewriter"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apiserver"
	apiregistrationinformers "k8s.io/kube-aggregator/pkg/client/informers/externalversions/apiregistration/v1"
)

// aggregatedDiscoveryHook is upstream's hook that aggregatedDiscovery replaces.
const aggregatedDiscoveryHook = "apiservice-discovery-controller"

const (
	// discoveryBytes is how long a discovery document of an aggregated API server may be.
	discoveryBytes = 2 << 20
	// discoveryCommas is how many commas it may have. Each may stand for a struct of 200 bytes in memory.
	discoveryCommas = 100_000
	// maxWatchedResources is how many resources of aggregated API servers controllers may watch. Each
	// takes an informer of the garbage collector, some 60 KB.
	maxWatchedResources = 1000
	// discoveredBytes is how much memory all these resources may take in one copy of the document. There are
	// several copies, also encoded ones, while it changes.
	discoveredBytes = 24 << 20
	// structBytes is how large a resource or a subresource is at most, and stringBytes a string, without what they
	// point to.
	structBytes, stringBytes = 200, 16
)

// aggregatedDiscovery keeps the resources of aggregated API servers in the discovery document, as
// upstream does. It bounds what these servers, which are a tenant's, can have the process read, store and
// watch. Each start does it again, so that one that takes all memory would end all starts.
type aggregatedDiscovery struct {
	services apiregistrationinformers.APIServiceInformer
	target   discoveryendpoint.ResourceManager
	// serve asks the server of an APIService.
	serve func(w http.ResponseWriter, req *http.Request, service *apiregistrationv1.APIService, limit int64)
}

// task returns the task that keeps the document.
func (d *aggregatedDiscovery) task() startTask {
	return startTask{name: "discovery of aggregated APIs", run: d.run}
}

// run follows the APIServices until ctx ends. It succeeds once each server has been asked.
func (d *aggregatedDiscovery) run(ctx context.Context, succeeded func()) error {
	ctx, cancel := context.WithCancel(ctx)
	document := newBoundedDiscovery(d.target)
	manager := apiserver.NewDiscoveryManager(document)
	started, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		manager.Run(ctx.Done(), started)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	// A manager asks all servers at once that it has when it starts, and two at a time later. So it starts
	// without any: few documents may be decoded at the same time.
	<-started
	informer := d.services.Informer()
	registration, err := informer.AddEventHandler(d.newHandler(ctx, manager, document))
	if err != nil {
		return err
	}
	defer func() { _ = informer.RemoveEventHandler(registration) }()
	if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
		return ctx.Err()
	}
	select {
	case <-document.answered():
		succeeded()
		<-ctx.Done()
	case <-ctx.Done():
	}
	return nil
}

// newHandler returns a handler of APIServices that lets a manager ask their servers.
func (d *aggregatedDiscovery) newHandler(ctx context.Context, manager apiserver.DiscoveryAggregationController, document *boundedDiscovery,
) cache.ResourceEventHandler {
	set := func(object any) {
		service, ok := object.(*apiregistrationv1.APIService)
		switch {
		case !ok:
		case service.Spec.Service == nil:
			manager.RemoveAPIService(service.Name)
		default:
			document.expect(service)
			manager.AddAPIService(service, d.handler(ctx, service))
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, object any) { set(object) },
		DeleteFunc: func(object any) {
			if name, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
				manager.RemoveAPIService(name)
			}
		},
	}
}

// handler returns a handler that asks the server of an APIService for its discovery documents. It answers
// nothing that would take much memory.
func (d *aggregatedDiscovery) handler(running context.Context, service *apiregistrationv1.APIService) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		// The manager calls this in goroutines of its own, where a panic would end the process.
		defer answerPanic(w, service)
		if !isAggregated(service) {
			http.Error(w, "service unavailable", http.StatusServiceUnavailable)
			return
		}
		if isMemoryShort() {
			http.Error(w, newInsufficientMemory().Error(), http.StatusServiceUnavailable)
			return
		}
		ctx, cancel := context.WithCancel(req.Context())
		defer cancel()
		defer context.AfterFunc(running, cancel)()
		answer := responsewriter.NewInMemoryResponseWriter()
		d.serve(answer, req.WithContext(ctx), service, discoveryBytes)
		if data := answer.Data(); answer.RespCode() == http.StatusOK && !isModestDocument(data) {
			http.Error(w, "The discovery document is too large, or no JSON.", http.StatusBadGateway)
			return
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.RespCode()) // An invalid code panics.
		_, _ = w.Write(answer.Data())
	})
}

// answerPanic recovers from a panic that the answer of a server of a tenant causes.
func answerPanic(w http.ResponseWriter, service *apiregistrationv1.APIService) {
	if cause := recover(); cause != nil {
		klog.V(2).InfoS("Cannot use the discovery document of an aggregated API server", "service", service.Name, "panic", cause)
		http.Error(w, "The server has an invalid answer.", http.StatusBadGateway)
	}
}

// isModestDocument reports whether a discovery document takes little memory once it is decoded. Other
// formats than JSON have elements of fewer bytes.
func isModestDocument(document []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(document), []byte("{")) && bytes.Count(document, []byte(",")) <= discoveryCommas
}

// boundedDiscovery is a discovery document that leaves out resources beyond maxWatchedResources and discoveredBytes.
type boundedDiscovery struct {
	discoveryendpoint.ResourceManager

	mu      sync.Mutex
	used    map[metav1.GroupVersion]discoveryUse
	logged  bool
	known   map[metav1.GroupVersion]bool // those that are in the document; false until the manager has set them
	waiting chan struct{}                // closed when the manager has set all that are known, nil unless somebody waits
}

// discoveryUse is what the resources of an aggregated API server take.
type discoveryUse struct {
	watched int // number of resources that controllers may watch
	bytes   int // about their size in memory
}

// plus returns the use with one more resource.
func (u discoveryUse) plus(r *apidiscoveryv2.APIResourceDiscovery) discoveryUse {
	if slices.Contains(r.Verbs, "watch") {
		u.watched++
	}
	u.bytes += structBytes + len(r.Resource) + len(r.SingularResource) + len(r.Scope)
	u.bytes += sizeOfKind(r.ResponseKind) + sizeOfStrings(r.Verbs) + sizeOfStrings(r.ShortNames) + sizeOfStrings(r.Categories)
	for i := range r.Subresources {
		sub := &r.Subresources[i]
		u.bytes += structBytes + len(sub.Subresource) + sizeOfKind(sub.ResponseKind) + sizeOfStrings(sub.Verbs)
		for j := range sub.AcceptedTypes {
			u.bytes += sizeOfKind(&sub.AcceptedTypes[j])
		}
	}
	return u
}

// sizeOfStrings returns about how many bytes of memory strings take.
func sizeOfStrings(all []string) (size int) {
	for _, s := range all {
		size += stringBytes + len(s)
	}
	return size
}

// sizeOfKind returns about how many bytes of memory a kind takes.
func sizeOfKind(k *metav1.GroupVersionKind) int {
	if k == nil {
		return 0
	}
	return 3*stringBytes + len(k.Group) + len(k.Version) + len(k.Kind)
}

// newBoundedDiscovery returns a boundedDiscovery of the aggregated API servers.
func newBoundedDiscovery(inner discoveryendpoint.ResourceManager) *boundedDiscovery {
	return &boundedDiscovery{
		ResourceManager: inner.WithSource(discoveryendpoint.AggregatorSource),
		used:            map[metav1.GroupVersion]discoveryUse{}, known: map[metav1.GroupVersion]bool{},
	}
}

// expect adds the group of an APIService whose server has not been asked yet. It is stale, so that nobody takes
// it for a group without resources: a namespace must not go while objects of it may be left.
func (b *boundedDiscovery) expect(service *apiregistrationv1.APIService) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := metav1.GroupVersion{Group: service.Spec.Group, Version: service.Spec.Version}
	if _, found := b.known[key]; found {
		return
	}
	b.known[key] = false
	b.ResourceManager.AddGroupVersion(key.Group, apidiscoveryv2.APIVersionDiscovery{
		Version: key.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessStale,
	})
	b.SetGroupVersionPriority(key, int(service.Spec.GroupPriorityMinimum), int(service.Spec.VersionPriority))
}

// answered returns a channel that is closed once the manager has asked the servers of all groups that are known.
func (b *boundedDiscovery) answered() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = make(chan struct{})
	b.announce()
	return b.waiting
}

// announce closes the channel of answered if all servers have been asked. The caller holds the lock.
func (b *boundedDiscovery) announce() {
	for _, isSet := range b.known {
		if !isSet {
			return
		}
	}
	if b.waiting != nil && !isClosed(b.waiting) {
		close(b.waiting)
	}
}

// AddGroupVersion implements discoveryendpoint.ResourceManager.
func (b *boundedDiscovery) AddGroupVersion(group string, version apidiscoveryv2.APIVersionDiscovery) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := metav1.GroupVersion{Group: group, Version: version.Version}
	defer b.announce()
	b.known[key] = true
	delete(b.used, key)
	left := discoveryUse{watched: maxWatchedResources, bytes: discoveredBytes}
	for _, other := range b.used {
		left.watched, left.bytes = left.watched-other.watched, left.bytes-other.bytes
	}
	known, dropped := len(version.Resources), 0
	var kept []apidiscoveryv2.APIResourceDiscovery
	for i := range version.Resources {
		use := b.used[key].plus(&version.Resources[i])
		if use.watched > left.watched || use.bytes > left.bytes {
			dropped++
			continue
		}
		b.used[key] = use
		kept = append(kept, version.Resources[i])
	}
	if dropped > 0 {
		version.Resources = kept
		if !b.logged {
			klog.InfoS("Aggregated API servers have too many resources, leaving some out of discovery",
				"group", group, "version", version.Version, "resources", known, "omitted", dropped, "limit", maxWatchedResources, "limitBytes", discoveredBytes)
		}
	}
	b.logged = dropped > 0
	b.ResourceManager.AddGroupVersion(group, version)
}

// RemoveGroupVersion implements discoveryendpoint.ResourceManager.
func (b *boundedDiscovery) RemoveGroupVersion(version metav1.GroupVersion) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.used, version)
	delete(b.known, version)
	b.announce()
	b.ResourceManager.RemoveGroupVersion(version)
}
