package egress

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/translate"
)

const (
	// freshProof is how long a proof counts without another look at the host. In that time
	// the network gives the address to nobody else: it gives free ones in turn.
	freshProof = 5 * time.Second
	// lastingProof is how long a proof counts while the host's API server does not respond.
	// In that time no new pod gets the address, and webhooks of the tenant still work.
	lastingProof = 5 * time.Minute
	// readTimeout is how long the host has for one read. After that it counts as a host that does not respond.
	readTimeout = 3 * time.Second
	// proveTimeout bounds all reads of one dial. A client that leaves does not end it.
	proveTimeout = 10 * time.Second
	// maxCandidates is how many host pods one dial reads at most.
	maxCandidates = 4
	// maxProofs is how many proofs are kept.
	maxProofs = 4096
)

// proofs knows which addresses belong to host pods of the virtual cluster.
type proofs struct {
	cluster translate.Cluster
	hostPod func(ctx context.Context, key types.NamespacedName) (*corev1.Pod, error)
	clock   clock.PassiveClock

	mu     sync.Mutex
	proven map[netip.Addr]time.Time // address -> time of the last proof
}

// newProofs returns proofs that know nothing yet.
func newProofs(options Options) *proofs {
	return &proofs{
		cluster: options.Cluster, hostPod: options.HostPod, clock: options.Clock,
		proven: map[netip.Addr]time.Time{},
	}
}

// prove reports whether the copy of one of the virtual pods has the address. It returns
// an error if the host does not respond.
func (p *proofs) prove(ctx context.Context, address netip.Addr, pods []types.NamespacedName) (bool, error) {
	if p.isProven(address, freshProof) {
		return true, nil
	}
	for _, virtual := range pods[:min(len(pods), maxCandidates)] {
		pod, err := p.read(ctx, translate.Hashed(p.cluster, virtual))
		switch {
		case apierrors.IsNotFound(err):
			continue
		case err != nil:
			// The end of ctx is ours. It reports nothing about the host, and a tenant can cause it by slow reads.
			if ctx.Err() == nil && !isAnswer(err) && p.isProven(address, lastingProof) {
				return true, nil
			}
			return false, err
		case p.isOwn(pod, virtual) && hasAddress(pod, address):
			p.record(address)
			return true, nil
		}
	}
	p.forget(address)
	return false, nil
}

// read reads a host pod, for readTimeout at most.
func (p *proofs) read(ctx context.Context, key types.NamespacedName) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return p.hostPod(ctx, key)
}

// isAnswer reports whether an error is the answer of a host that works, and refuses this account. Such a host
// gives addresses to new pods.
func isAnswer(err error) bool {
	return apierrors.IsTooManyRequests(err) || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)
}

// isOwn reports whether the host pod is the copy of the virtual pod, with a network of its
// own. The address of a pod on its node's network is the node's.
func (p *proofs) isOwn(pod *corev1.Pod, virtual types.NamespacedName) bool {
	origin, _, ours := translate.Origin(p.cluster, translate.Hashed, pod)
	return ours && origin == virtual && !pod.Spec.HostNetwork && !translate.IsFinished(pod)
}

// hasAddress reports whether the pod has the address, and its node does not.
func hasAddress(pod *corev1.Pod, address netip.Addr) bool {
	isAddress := func(text string) bool {
		parsed, err := netip.ParseAddr(text)
		return err == nil && parsed.Unmap() == address
	}
	isNode := isAddress(pod.Status.HostIP) ||
		slices.ContainsFunc(pod.Status.HostIPs, func(ip corev1.HostIP) bool { return isAddress(ip.IP) })
	return !isNode && (isAddress(pod.Status.PodIP) ||
		slices.ContainsFunc(pod.Status.PodIPs, func(ip corev1.PodIP) bool { return isAddress(ip.IP) }))
}

// isProven reports whether the address was proven less than that time ago.
func (p *proofs) isProven(address netip.Addr, within time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.proven[address]
	return ok && p.clock.Since(at) < within
}

// record keeps a proof.
func (p *proofs) record(address netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.proven) >= maxProofs {
		clear(p.proven)
	}
	p.proven[address] = p.clock.Now()
}

// forget drops a proof that no longer holds.
func (p *proofs) forget(address netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.proven, address)
}
