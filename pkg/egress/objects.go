package egress

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	sublabels "github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// settleTime is how long a dial waits for an address that no pod has. The API server reads
// a pod from the store, and the caches here learn of it a moment later.
const settleTime = time.Second

// errNotStarted is returned before the objects of the virtual cluster are known.
var errNotStarted = errors.New("cannot connect: the control plane is starting; try again")

// Objects has the pods and Services of the virtual cluster by their addresses. Its zero
// value knows nothing: every dial is told to try again until [Objects.Watch] has begun.
type Objects struct {
	mu      sync.Mutex
	started bool
	owned   map[ownerKey][]netip.Addr            // object -> its addresses
	owners  map[netip.Addr]map[ownerKey]struct{} // address -> the objects that have it
	changed chan struct{}                        // closed when an address comes

	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
}

// ownerKey names a pod or a Service.
type ownerKey struct {
	isService bool
	name      types.NamespacedName
}

// owners are the objects that have one address.
type owners struct{ pods, services []types.NamespacedName }

// Watch reads the objects from the informers until ctx ends. lifetime ends informers that
// nobody else has started.
func (o *Objects) Watch(ctx context.Context, factory informers.SharedInformerFactory, lifetime <-chan struct{}) error {
	pods, services := factory.Core().V1().Pods().Informer(), factory.Core().V1().Services().Informer()
	endpoints := factory.Discovery().V1().EndpointSlices().Informer()
	o.mu.Lock()
	o.services, o.slices = factory.Core().V1().Services().Lister(), factory.Discovery().V1().EndpointSlices().Lister()
	o.mu.Unlock()
	synced := []cache.InformerSynced{endpoints.HasSynced}
	for _, informer := range []cache.SharedIndexInformer{pods, services} {
		registration, err := informer.AddEventHandler(o)
		if err != nil {
			return fmt.Errorf("cannot watch the destinations of the API server: %w", err)
		}
		defer func() { _ = informer.RemoveEventHandler(registration) }()
		synced = append(synced, registration.HasSynced)
	}
	factory.Start(lifetime)
	if cache.WaitForCacheSync(ctx.Done(), synced...) {
		o.mu.Lock()
		o.started = true
		o.mu.Unlock()
	}
	<-ctx.Done()
	return nil
}

var _ cache.ResourceEventHandler = &Objects{}

// OnAdd implements cache.ResourceEventHandler.
func (o *Objects) OnAdd(object any, _ bool) {
	if key, addresses, ok := readOwner(object); ok {
		o.replace(key, addresses)
	}
}

// OnUpdate implements cache.ResourceEventHandler.
func (o *Objects) OnUpdate(_, object any) { o.OnAdd(object, false) }

// OnDelete implements cache.ResourceEventHandler.
func (o *Objects) OnDelete(object any) {
	if last, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = last.Obj
	}
	if key, _, ok := readOwner(object); ok {
		o.replace(key, nil)
	}
}

// readOwner returns the key and the addresses of a pod or a Service.
func readOwner(object any) (key ownerKey, addresses []netip.Addr, ok bool) {
	switch object := object.(type) {
	case *corev1.Pod:
		key.name = types.NamespacedName{Namespace: object.Namespace, Name: object.Name}
		return key, translate.PodAddresses(object), true
	case *corev1.Service:
		key = ownerKey{isService: true, name: types.NamespacedName{Namespace: object.Namespace, Name: object.Name}}
		return key, translate.ParseAddresses(append(slices.Clone(object.Spec.ClusterIPs), object.Spec.ClusterIP)...), true
	}
	return key, nil, false
}

// replace sets the addresses of an object.
func (o *Objects) replace(key ownerKey, addresses []netip.Addr) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if slices.Equal(o.owned[key], addresses) {
		return
	}
	if o.owned == nil {
		o.owned, o.owners = map[ownerKey][]netip.Addr{}, map[netip.Addr]map[ownerKey]struct{}{}
	}
	for _, address := range o.owned[key] {
		delete(o.owners[address], key)
		if len(o.owners[address]) == 0 {
			delete(o.owners, address)
		}
	}
	delete(o.owned, key)
	if len(addresses) == 0 {
		return
	}
	o.owned[key] = addresses
	for _, address := range addresses {
		if o.owners[address] == nil {
			o.owners[address] = map[ownerKey]struct{}{}
		}
		o.owners[address][key] = struct{}{}
	}
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

// ownersOf returns the objects that have the address.
func (o *Objects) ownersOf(address netip.Addr) owners {
	o.mu.Lock()
	defer o.mu.Unlock()
	var found owners
	for key := range o.owners[address] {
		if key.isService {
			found.services = append(found.services, key.name)
		} else {
			found.pods = append(found.pods, key.name)
		}
	}
	return found
}

// awaitOwners returns the objects that have the address. If there is none, it waits for one for
// settleTime.
func (o *Objects) awaitOwners(ctx context.Context, clock clock.Clock, address netip.Addr) (owners, error) {
	var settled <-chan time.Time
	for {
		next, started := o.nextChange()
		if !started {
			return owners{}, errNotStarted
		}
		if found := o.ownersOf(address); len(found.pods)+len(found.services) > 0 {
			return found, nil
		}
		if settled == nil { // A dial that finds the address needs no timer.
			timer := clock.NewTimer(settleTime)
			defer timer.Stop()
			settled = timer.C()
		}
		select {
		case <-next:
		case <-settled:
			return owners{}, nil
		case <-ctx.Done():
			return owners{}, ctx.Err()
		}
	}
}

// nextChange returns a channel that closes when an address comes. started reports whether
// the objects are known.
func (o *Objects) nextChange() (next <-chan struct{}, started bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.changed, o.started
}

// endpoints returns ready endpoints for the port of a Service, in random order and no more
// than are tried. If there are none, it returns those that serve until their pods end, as
// proxies of nodes do. With ofHost, only the slices of the syncer count.
func (o *Objects) endpoints(service types.NamespacedName, port uint16, ofHost bool) []netip.AddrPort {
	o.mu.Lock()
	services, lister := o.services, o.slices
	o.mu.Unlock()
	object, err := services.Services(service.Namespace).Get(service.Name)
	if err != nil {
		return nil
	}
	// The same number may be a port of UDP too, as for HTTP/3.
	at := slices.IndexFunc(object.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == int32(port) && isTCP(&p.Protocol) })
	if at < 0 {
		return nil
	}
	all, err := lister.EndpointSlices(service.Namespace).List(
		labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service.Name}))
	if err != nil {
		return nil
	}
	var found []netip.AddrPort
	for _, isUsable := range []func(discoveryv1.EndpointConditions) bool{isReady, isLeaving} {
		for _, slice := range all {
			// The syncer keeps one slice, with the name of the Service. Others may be older than
			// the admission of the mark.
			if ofHost && (slice.Name != service.Name || slice.Annotations[sublabels.HostUID] == "" || slice.DeletionTimestamp != nil) {
				continue
			}
			found = append(found, sliceEndpoints(slice, object.Spec.Ports[at].Name, isUsable)...)
		}
		if len(found) > 0 {
			break
		}
	}
	rand.Shuffle(len(found), func(i, j int) { found[i], found[j] = found[j], found[i] }) //nolint:gosec // It spreads load, and nobody gains by a guess.
	return found[:min(len(found), maxAddresses)]
}

// isReady reports whether an endpoint is ready.
func isReady(c discoveryv1.EndpointConditions) bool { return c.Ready == nil || *c.Ready }

// isLeaving reports whether an endpoint still serves while its pod ends.
func isLeaving(c discoveryv1.EndpointConditions) bool {
	return c.Serving != nil && *c.Serving && c.Terminating != nil && *c.Terminating
}

// sliceEndpoints returns the usable endpoints of a slice for a port's name.
func sliceEndpoints(slice *discoveryv1.EndpointSlice, portName string, isUsable func(discoveryv1.EndpointConditions) bool) []netip.AddrPort {
	at := slices.IndexFunc(slice.Ports, func(p discoveryv1.EndpointPort) bool {
		return p.Port != nil && *p.Port > 0 && *p.Port <= 65535 && isTCP(p.Protocol) && (p.Name == nil && portName == "" || p.Name != nil && *p.Name == portName)
	})
	if at < 0 {
		return nil
	}
	var found []netip.AddrPort
	for _, endpoint := range slice.Endpoints {
		if !isUsable(endpoint.Conditions) {
			continue
		}
		for _, address := range translate.ParseAddresses(endpoint.Addresses...) {
			found = append(found, netip.AddrPortFrom(address, uint16(*slice.Ports[at].Port))) //nolint:gosec // It is bounded above.
		}
	}
	return found
}

// isTCP reports whether a port is one of TCP, which a port without a protocol is.
func isTCP(protocol *corev1.Protocol) bool {
	return protocol == nil || *protocol == "" || *protocol == corev1.ProtocolTCP
}
