package dns

import (
	"net/netip"
	"slices"
	"strings"
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
	pods      map[types.NamespacedName]knownPod
	addresses map[netip.Addr]int      // address -> number of its pods
	names     map[netip.Addr]knownPod // address -> its pod, if that has a name
	changed   chan struct{}           // closed when a pod gets addresses
}

// knownPod is what is known of a pod.
type knownPod struct {
	addresses []netip.Addr
	// name is the pod's own full name below the domain of Services, such as db-0.db.shop. It
	// is empty for a pod without a subdomain.
	name string
}

var _ cache.ResourceEventHandler = &Pods{}

// NewPods returns a Pods without any pod.
func NewPods() *Pods {
	return &Pods{
		pods: map[types.NamespacedName]knownPod{}, addresses: map[netip.Addr]int{}, names: map[netip.Addr]knownPod{},
		changed: make(chan struct{}),
	}
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
	before := p.pods[key]
	if slices.Equal(before.addresses, addresses) {
		return
	}
	for _, address := range before.addresses {
		if p.addresses[address]--; p.addresses[address] == 0 {
			delete(p.addresses, address)
		}
		if p.names[address].name == before.name {
			delete(p.names, address)
		}
	}
	delete(p.pods, key)
	if len(addresses) == 0 {
		return
	}
	after := knownPod{addresses: addresses, name: ownName(pod)}
	p.pods[key] = after
	for _, address := range addresses {
		p.addresses[address]++
		if after.name != "" {
			p.names[address] = after
		}
	}
	// Those who wait look again.
	close(p.changed)
	p.changed = make(chan struct{})
}

// ownName returns the name of a pod that kubelets write into its /etc/hosts, below the domain
// of Services. It is empty for a pod that has only a short name.
func ownName(pod *corev1.Pod) string {
	if pod.Spec.Subdomain == "" || pod.Spec.HostNetwork {
		return ""
	}
	return strings.ToLower(translate.ShortHostname(pod) + "." + pod.Spec.Subdomain + "." + pod.Namespace)
}

// isKnown reports whether the address is a pod's. The channel closes when a pod gets addresses.
func (p *Pods) isKnown(address netip.Addr) (known bool, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addresses[address] > 0, p.changed
}

// withFullName returns the pod that has this address and a full name.
func (p *Pods) withFullName(address netip.Addr) (knownPod, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pod, ok := p.names[address]
	return pod, ok
}
