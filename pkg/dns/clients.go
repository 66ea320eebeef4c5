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
)

const (
	// holdTime is how long a query of an unknown address waits for the address to become
	// known. Clients repeat a query after two seconds or later.
	holdTime = 2 * time.Second
	// maxHeld is how many queries wait at once. Further ones are refused at once.
	maxHeld = 64
	// trialTime is how long an unknown address gets answers while a pod starts. Within it
	// the addresses of the pod become known.
	trialTime = 10 * time.Second
	// trialRest is how long an address stays unknown after that before it gets another trial.
	trialRest = 10 * time.Minute
	// maxClients is the number of addresses whose rates and trials are remembered.
	maxClients = 4096
	// logInterval is the time between two log lines about refused addresses.
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
	held    chan struct{}
	denied  *metrics.CounterVec

	limiters *lru.Cache // netip.Addr -> flowcontrol.RateLimiter
	trials   *lru.Cache // netip.Addr -> time.Time of the first answer

	mu     sync.Mutex
	logged time.Time
}

// newClients creates the plugin and registers its metric, if there is a register.
func newClients(options Options) (*clients, error) {
	c := &clients{
		pods: options.Pods, allowed: options.Allowed, rate: options.QueriesPerSecond, clock: options.Clock,
		held: make(chan struct{}, maxHeld), limiters: lru.New(maxClients), trials: lru.New(maxClients),
		denied: metrics.NewCounterVec(&metrics.CounterOpts{
			Namespace:      "sublet",
			Subsystem:      "dns",
			Name:           "denied_total",
			Help:           "DNS queries without an answer, by reason: the client is no pod of this cluster (client), or asks too often (rate).",
			StabilityLevel: metrics.ALPHA,
		}, []string{"reason"}),
	}
	if options.Register == nil {
		return c, nil
	}
	var err error
	c.denied, err = registerOnce(options.Register, c.denied)
	return c, err
}

// Name implements plugin.Handler.
func (*clients) Name() string { return "clients" }

// ServeDNS implements plugin.Handler. Of a client that asks too often it drops the query:
// an answer would only speed up the next one.
func (c *clients) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	address := addressOf(w.RemoteAddr())
	if address.IsLoopback() {
		return plugin.NextOrFailure(c.Name(), c.next, ctx, w, r)
	}
	if !c.await(ctx, address) {
		c.denied.WithLabelValues("client").Inc()
		c.log(ctx, address)
		return dns.RcodeRefused, nil
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
	select {
	case c.held <- struct{}{}:
		defer func() { <-c.held }()
	default:
		return false
	}
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

// mayAsk reports whether the address may ask now. If not, it returns a channel that closes
// when that may have changed.
func (c *clients) mayAsk(address netip.Addr) (bool, <-chan struct{}) {
	if c.pods == nil || slices.ContainsFunc(c.allowed, func(p netip.Prefix) bool { return p.Contains(address) }) {
		return true, nil
	}
	known, starting, changed := c.pods.look(address)
	return known || starting && c.isOnTrial(address), changed
}

// isOnTrial reports whether an unknown address gets answers while a pod starts. It starts
// the trial of an address that had none for long.
func (c *clients) isOnTrial(address netip.Addr) bool {
	now := c.clock.Now()
	if since, ok := c.trials.Get(address); ok {
		if first, ok := since.(time.Time); ok && now.Sub(first) < trialRest {
			return now.Sub(first) < trialTime
		}
	}
	c.trials.Add(address, now)
	return true
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

// log logs a refused address, at most one in each logInterval.
func (c *clients) log(ctx context.Context, address netip.Addr) {
	c.mu.Lock()
	now := c.clock.Now()
	due := now.Sub(c.logged) >= logInterval
	if due {
		c.logged = now
	}
	c.mu.Unlock()
	if due {
		klog.FromContext(ctx).Info("DNS query refused: its address is none of a pod of this cluster. "+
			"Where the host's network hides addresses of pods, set networking.advanced.dns.allowedCIDRs", "address", address)
	}
}
