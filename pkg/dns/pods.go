package dns

import (
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// startTime is how long a pod with a node may take until its addresses are known. Kubelets
// report them a second after the first container runs. A pod that waits for an image or a
// volume takes longer, and its first query is held.
const startTime = time.Minute

// Pods has the addresses of the pods of the virtual cluster. It is the handler of an
// informer of virtual pods. A tenant can write any address into the status of a
// pod. This opens the tenant's own names to that address, and nobody else's.
type Pods struct {
	clock clock.PassiveClock

	mu        sync.Mutex
	pods      map[types.NamespacedName][]netip.Addr
	addresses map[netip.Addr]int // address -> number of its pods
	starting  map[types.NamespacedName]time.Time
	changed   chan struct{} // closed at the next change
}

var _ cache.ResourceEventHandler = &Pods{}

// NewPods returns a Pods without any pod.
func NewPods(clock clock.PassiveClock) *Pods {
	return &Pods{
		clock: clock, pods: map[types.NamespacedName][]netip.Addr{}, addresses: map[netip.Addr]int{},
		starting: map[types.NamespacedName]time.Time{}, changed: make(chan struct{}),
	}
}

// OnAdd implements cache.ResourceEventHandler.
func (p *Pods) OnAdd(o any, _ bool) {
	if pod, ok := o.(*corev1.Pod); ok {
		p.set(pod)
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
	p.mu.Lock()
	defer p.mu.Unlock()
	key := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
	delete(p.starting, key)
	p.replace(key, nil)
}

// set records the addresses of a pod. A finished pod has none any more: the host may give
// them to somebody else.
func (p *Pods) set(pod *corev1.Pod) {
	var addresses []netip.Addr
	if !translate.IsFinished(pod) {
		for _, ip := range pod.Status.PodIPs {
			if address, err := netip.ParseAddr(ip.IP); err == nil {
				addresses = append(addresses, address.Unmap())
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	key := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
	_, known := p.starting[key]
	switch {
	case len(addresses) > 0 || pod.Spec.NodeName == "" || translate.IsFinished(pod):
		delete(p.starting, key)
	case !known:
		p.starting[key] = p.clock.Now()
		p.wake()
	}
	p.replace(key, addresses)
}

// replace sets the addresses of a pod. The caller holds the lock.
func (p *Pods) replace(key types.NamespacedName, addresses []netip.Addr) {
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
	p.wake()
}

// wake lets those who wait look again. The caller holds the lock.
func (p *Pods) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// look reports whether the address is a pod's. starting reports whether a pod has a node, and
// no address yet. The channel closes when a pod gets either.
func (p *Pods) look(address netip.Addr) (known, starting bool, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	for _, since := range p.starting {
		if now.Sub(since) < startTime {
			starting = true
			break
		}
	}
	return p.addresses[address] > 0, starting, p.changed
}
