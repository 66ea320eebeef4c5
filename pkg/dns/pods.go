package dns

import (
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// Pods has the addresses of the pods of the virtual cluster. It is the handler of an
// informer of virtual pods. A tenant can write any address into the status of a
// pod. This opens the tenant's own names to that address, and nobody else's.
type Pods struct {
	mu        sync.Mutex
	pods      map[types.NamespacedName][]netip.Addr
	addresses map[netip.Addr]int // address -> number of its pods
	changed   chan struct{}      // closed when a pod gets addresses
}

var _ cache.ResourceEventHandler = &Pods{}

// NewPods returns a Pods without any pod.
func NewPods() *Pods {
	return &Pods{pods: map[types.NamespacedName][]netip.Addr{}, addresses: map[netip.Addr]int{}, changed: make(chan struct{})}
}

// OnAdd implements cache.ResourceEventHandler.
func (p *Pods) OnAdd(o any, _ bool) {
	if pod, ok := o.(*corev1.Pod); ok {
		p.replace(pod, translate.PodAddresses(pod))
	}
}

// OnUpdate implements cache.ResourceEventHandler.
func (p *Pods) OnUpdate(_, o any) { p.OnAdd(o, false) }

// OnDelete implements cache.ResourceEventHandler.
func (p *Pods) OnDelete(o any) {
	if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = last.Obj
	}
	pod, ok := o.(*corev1.Pod)
	if !ok {
		return
	}
	p.replace(pod, nil)
}

// replace sets the addresses of a pod.
func (p *Pods) replace(pod *corev1.Pod, addresses []netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
	if slices.Equal(p.pods[key], addresses) {
		return
	}
	for _, address := range p.pods[key] {
		if p.addresses[address]--; p.addresses[address] == 0 {
			delete(p.addresses, address)
		}
	}
	delete(p.pods, key)
	if len(addresses) == 0 {
		return
	}
	p.pods[key] = addresses
	for _, address := range addresses {
		p.addresses[address]++
	}
	// Those who wait look again.
	close(p.changed)
	p.changed = make(chan struct{})
}

// look reports whether the address is a pod's. The channel closes when a pod gets addresses.
func (p *Pods) look(address netip.Addr) (known bool, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addresses[address] > 0, p.changed
}
