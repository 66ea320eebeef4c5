package dns

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"github.com/sublet-dev/sublet/pkg/meter"
)

const (
	// holdTime is how long a query of an unknown address waits for the address to become
	// known. A kubelet reports it up to two seconds after the first container runs, which
	// may ask at once. Most clients repeat a query after five seconds.
	holdTime = 4 * time.Second
	// maxHeld is how many queries wait at once. Further ones are dropped at once.
	maxHeld = 256
	// maxHeldEach is how many queries of one address wait at once, so that a stranger does not
	// take the place of a new pod.
	maxHeldEach = 8
	// maxClients is the number of addresses whose rates are remembered.
	maxClients = 4096
	// logInterval is the time between two log lines about unknown addresses.
	logInterval = time.Minute
)

// clients is a plugin that answers the pods of the virtual cluster, and nobody else. It
// limits the queries of each address.
type clients struct {
	next    plugin.Handler
	pods    *Pods // nil answers everybody
	allowed []netip.Prefix
	rate    float32 // queries per second and address
	clock   clock.Clock
	denied  *metrics.CounterVec

	limiters *lru.Cache // netip.Addr -> flowcontrol.RateLimiter

	mu     sync.Mutex
	held   map[netip.Addr]int // address -> number of its queries that wait
	waits  int                // sum of held
	logged time.Time
}

// newClients creates the plugin and registers its metric, if there is a register.
func newClients(options Options) (*clients, error) {
	c := &clients{
		pods: options.Pods, allowed: options.Allowed, rate: options.QueriesPerSecond, clock: options.Clock,
		held: map[netip.Addr]int{}, limiters: lru.New(maxClients),
		denied: metrics.NewCounterVec(&metrics.CounterOpts{
			Namespace:      "sublet",
			Subsystem:      "dns",
			Name:           "denied_total",
			Help:           "DNS queries without an answer, by reason: the client is no pod of this cluster (client), or asks too often (rate).",
			StabilityLevel: metrics.ALPHA,
		}, []string{"reason"}),
	}
	var err error
	c.denied, err = meter.Register(options.Register, c.denied)
	return c, err
}

// Name implements plugin.Handler.
func (*clients) Name() string { return "clients" }

// ServeDNS implements plugin.Handler. It drops the query of a client that is unknown or asks
// too often. An answer would only speed up the next one, and end the attempts of a pod whose
// address is not known yet.
func (c *clients) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	address := addressOf(w.RemoteAddr())
	if address.IsLoopback() || isFollowUp(ctx) {
		return plugin.NextOrFailure(c.Name(), c.next, ctx, w, r)
	}
	if !c.await(ctx, address) {
		c.denied.WithLabelValues("client").Inc()
		c.logUnknown(ctx, address)
		return dns.RcodeSuccess, nil
	}
	if !c.limiter(address).TryAccept() {
		c.denied.WithLabelValues("rate").Inc()
		return dns.RcodeSuccess, nil
	}
	return plugin.NextOrFailure(c.Name(), c.next, ctx, w, r)
}

// addressOf returns the IP of a client, the zero address if it has none.
func addressOf(remote net.Addr) netip.Addr {
	if remote == nil {
		return netip.Addr{}
	}
	port, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return netip.Addr{}
	}
	return port.Addr().Unmap().WithZone("")
}

// await reports whether the address may ask. It waits for an address that is unknown.
func (c *clients) await(ctx context.Context, address netip.Addr) bool {
	ok, changed := c.mayAsk(address)
	if ok {
		return true
	}
	if !c.startWait(address) {
		return false
	}
	defer c.endWait(address)
	timer := c.clock.NewTimer(holdTime)
	defer timer.Stop()
	for {
		select {
		case <-changed:
			if ok, changed = c.mayAsk(address); ok {
				return true
			}
		case <-timer.C():
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// startWait reports whether one more query of the address may wait, and counts it. The caller
// ends the wait with endWait.
func (c *clients) startWait(address netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waits >= maxHeld || c.held[address] >= maxHeldEach {
		return false
	}
	c.waits++
	c.held[address]++
	return true
}

// endWait ends the wait of a query.
func (c *clients) endWait(address netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits--
	if c.held[address]--; c.held[address] == 0 {
		delete(c.held, address)
	}
}

// mayAsk reports whether the address may ask now. If not, it returns a channel that closes
// when that may have changed.
func (c *clients) mayAsk(address netip.Addr) (bool, <-chan struct{}) {
	if c.pods == nil || slices.ContainsFunc(c.allowed, func(p netip.Prefix) bool { return p.Contains(address) }) {
		return true, nil
	}
	return c.pods.isKnown(address)
}

// limiter returns the limit of the queries of one address.
func (c *clients) limiter(address netip.Addr) flowcontrol.RateLimiter {
	if cached, ok := c.limiters.Get(address); ok {
		if limiter, ok := cached.(flowcontrol.RateLimiter); ok {
			return limiter
		}
	}
	limiter := flowcontrol.NewTokenBucketRateLimiterWithClock(c.rate, int(2*c.rate), c.clock)
	c.limiters.Add(address, limiter)
	return limiter
}

// logUnknown logs an unknown address, at most one in each logInterval.
func (c *clients) logUnknown(ctx context.Context, address netip.Addr) {
	c.mu.Lock()
	now := c.clock.Now()
	due := now.Sub(c.logged) >= logInterval
	if due {
		c.logged = now
	}
	c.mu.Unlock()
	if due {
		klog.FromContext(ctx).Info("DNS query dropped: its address is none of a pod of this cluster. "+
			"Where the host's network hides addresses of pods, set networking.advanced.dns.allowedCIDRs", "address", address)
	}
}
