package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/translate"
)

const (
	// dialTimeout bounds one attempt to connect.
	dialTimeout = 10 * time.Second
	// keepAlive is the period of the probes on an idle connection.
	keepAlive = 30 * time.Second
	// maxAddresses is how many addresses of one name or Service are tried.
	maxAddresses = 8
)

// Options configure a [Dialer].
type Options struct {
	// Cluster is the identity of the virtual cluster. Required.
	Cluster translate.Cluster
	// Virtual has the pods and Services of the virtual cluster. Required.
	Virtual *Objects
	// HostPod reads a host pod from the host's API server. It returns an error that
	// apierrors.IsNotFound recognises if there is none. It returns one that
	// apierrors.IsTooManyRequests recognises if the host has not had all of the time, because
	// the read waited on our side. Required.
	HostPod func(ctx context.Context, key types.NamespacedName) (*corev1.Pod, error)
	// HostServices are the virtual Services that are copies of Services of the host, by the
	// settings. Their endpoints are the operator's choice. The slices that count are those
	// that nobody but the syncer writes.
	HostServices []types.NamespacedName
	// Closed are addresses that are never dialled: those of the host's API server and of
	// the process itself.
	Closed []netip.Addr
	// ServiceRanges are the ranges of the host's Services. An entry of AllowedCIDRs that is
	// wider than such a range does not open it.
	ServiceRanges []netip.Prefix
	// AllowedCIDRs are further ranges that may be dialled.
	AllowedCIDRs []netip.Prefix
	// AllowedHosts are names whose public addresses may be dialled.
	AllowedHosts []string
	// Resolve returns the addresses of a DNS name. Default: the resolver of the process.
	Resolve func(ctx context.Context, network, host string) ([]netip.Addr, error)
	// Connect opens a connection. Default: the network.
	Connect func(ctx context.Context, address netip.AddrPort) (net.Conn, error)
	// Clock is the time. Default: the real one.
	Clock clock.Clock
	// Register registers the metrics. Default: there are no metrics.
	Register func(metrics.Registerable) error
}

// Dialer opens connections on behalf of a tenant.
type Dialer struct {
	options Options
	proofs  *proofs
	metrics *dialMetrics
	pace    *pace
}

// New returns a dialer.
func New(options Options) (*Dialer, error) {
	if options.Virtual == nil || options.HostPod == nil {
		return nil, errors.New("cannot create the dialer of the API server: it needs readers of virtual objects and of host pods")
	}
	if options.Resolve == nil {
		options.Resolve = net.DefaultResolver.LookupNetIP
	}
	if options.Connect == nil {
		options.Connect = connect
	}
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	m, err := newMetrics(options.Register)
	if err != nil {
		return nil, err
	}
	return &Dialer{options: options, proofs: newProofs(options), metrics: m, pace: newPace(options.Clock)}, nil
}

// connect opens a TCP connection. The address is an IP, so nothing is resolved.
func connect(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	return dialer.DialContext(ctx, "tcp", address.String())
}

// DialContext opens a connection to an address, which is a host and a port. It has the
// form of a network dialer. It returns a [RefusedError] for an address that may not be
// dialled, without a packet on the network.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, address)
	d.metrics.count(err)
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		klog.FromContext(ctx).V(2).Info("Refused connection of the API server", "address", refused.Address)
	}
	return conn, err
}

func (d *Dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := splitAddress(network, address)
	if err != nil {
		return nil, err
	}
	var targets []netip.AddrPort
	if literal, err := netip.ParseAddr(host); err == nil {
		targets, err = d.permit(ctx, literal, port, d.awaitOwners)
		if err != nil {
			return nil, err
		}
	} else if targets, err = d.permitName(ctx, host, port); err != nil {
		return nil, err
	}
	var failed error
	for _, target := range targets {
		conn, err := d.options.Connect(ctx, target)
		if err == nil {
			return d.pace.wrap(conn), nil
		}
		failed = err
	}
	return nil, failed
}

// splitAddress returns the host and the port of an address.
func splitAddress(network, address string) (host string, port uint16, err error) {
	if !strings.HasPrefix(network, "tcp") {
		return "", 0, fmt.Errorf("cannot connect to %s: the API server dials TCP, not %s", address, network)
	}
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("cannot connect to %s: %w", address, err)
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil || number == 0 {
		return "", 0, fmt.Errorf("cannot connect to %s: %q is no port", address, text)
	}
	return host, uint16(number), nil
}

// permitName resolves a DNS name and returns those of its addresses that may be dialled.
// The error is the same for a name without addresses, and takes as long. Otherwise a tenant could
// find out which names exist on the host, and where they lead.
func (d *Dialer) permitName(ctx context.Context, name string, port uint16) ([]netip.AddrPort, error) {
	absolute := strings.TrimSuffix(strings.ToLower(name), ".")
	isListed := slices.Contains(d.options.AllowedHosts, absolute)
	if _, started := d.options.Virtual.nextChange(); !started && !isListed {
		return nil, errNotStarted
	}
	timer := d.options.Clock.NewTimer(settleTime)
	defer timer.Stop()
	refuseDial := func() error {
		select {
		case <-timer.C():
		case <-ctx.Done():
		}
		return newNameError(name, port)
	}
	// With a dot at its end, the search list of the host's DNS does not apply.
	addresses, err := d.options.Resolve(ctx, "ip", absolute+".")
	if err != nil {
		if isListed {
			return nil, fmt.Errorf("cannot resolve %s: %w", name, err)
		}
		return nil, refuseDial()
	}
	targets := d.permitAddresses(ctx, addresses[:min(len(addresses), maxAddresses)], port, isListed)
	if len(targets) == 0 {
		return nil, refuseDial()
	}
	return targets, nil
}

// permitAddresses returns those addresses of a name that may be dialled. isListed specifies that the operator
// has listed the name.
func (d *Dialer) permitAddresses(ctx context.Context, addresses []netip.Addr, port uint16, isListed bool) []netip.AddrPort {
	// A proof that takes longer would show that a pod has the address.
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	var targets []netip.AddrPort
	for _, address := range addresses {
		address = address.Unmap()
		if isListed && isPublic(address) && !d.isClosed(address) {
			targets = append(targets, netip.AddrPortFrom(address, port))
			continue
		}
		if permitted, err := d.permit(ctx, address, port, d.ownersNow); err == nil {
			targets = append(targets, permitted...)
		}
	}
	return targets
}

// findOwners returns what has an address in the virtual cluster.
type findOwners func(ctx context.Context, address netip.Addr) (owners, error)

// awaitOwners implements [findOwners]. It waits for an owner that is not known yet.
func (d *Dialer) awaitOwners(ctx context.Context, address netip.Addr) (owners, error) {
	return d.options.Virtual.awaitOwners(ctx, d.options.Clock, address)
}

// ownersNow implements [findOwners]. It does not wait.
func (d *Dialer) ownersNow(_ context.Context, address netip.Addr) (owners, error) {
	return d.options.Virtual.ownersOf(address), nil
}

// permit returns what to dial for an address: the address itself, or the endpoints of
// the Service that it belongs to.
func (d *Dialer) permit(ctx context.Context, address netip.Addr, port uint16, find findOwners) ([]netip.AddrPort, error) {
	address = address.Unmap()
	target := netip.AddrPortFrom(address, port)
	if err := d.checkClosed(target); err != nil {
		return nil, err
	}
	if d.isListed(address) {
		return []netip.AddrPort{target}, nil
	}
	owners, err := find(ctx, address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, proveTimeout)
	defer cancel()
	if len(owners.services) > 0 {
		return d.permitService(ctx, owners.services[0], target)
	}
	if err := d.provePod(ctx, target, owners.pods); err != nil {
		return nil, err
	}
	return []netip.AddrPort{target}, nil
}

// checkClosed returns an error for an address that is never dialled.
func (d *Dialer) checkClosed(target netip.AddrPort) error {
	switch {
	case isForbidden(target.Addr()):
		return newForbiddenError(target)
	case d.isClosed(target.Addr()):
		return newForeignError(target)
	}
	return nil
}

// provePod returns nil if one of the virtual pods has a copy on the host with the address.
func (d *Dialer) provePod(ctx context.Context, target netip.AddrPort, pods []types.NamespacedName) error {
	proven, err := d.proofs.prove(ctx, target.Addr(), pods)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Cannot get host pod", "address", target)
		return fmt.Errorf("cannot connect to %s: the host cluster does not respond; try again later", target)
	}
	if !proven {
		return newForeignError(target)
	}
	return nil
}

// permitService returns those endpoints of a Service that may be dialled. The Service's
// own address is never dialled: the host would route it to any endpoint that a tenant
// has written.
func (d *Dialer) permitService(ctx context.Context, service types.NamespacedName, target netip.AddrPort) ([]netip.AddrPort, error) {
	isOfHost := slices.Contains(d.options.HostServices, service)
	endpoints := d.options.Virtual.endpoints(service, target.Port(), isOfHost)
	if len(endpoints) == 0 {
		return nil, fmt.Errorf("cannot connect to Service %s: it has no ready endpoint for port %d", service, target.Port())
	}
	var targets []netip.AddrPort
	var failed error
	begin := d.options.Clock.Now()
	for _, endpoint := range endpoints {
		if len(targets) > 0 && d.options.Clock.Since(begin) >= readTimeout {
			break // Each further read of a host that does not respond takes as long, and a webhook has seconds.
		}
		err := d.checkClosed(endpoint)
		if err == nil && !isOfHost && !d.isListed(endpoint.Addr()) {
			err = d.provePod(ctx, endpoint, d.options.Virtual.ownersOf(endpoint.Addr()).pods)
		}
		if err != nil {
			failed = err
			continue
		}
		targets = append(targets, endpoint)
	}
	if len(targets) == 0 {
		return nil, failed
	}
	return targets, nil
}

// isClosed reports whether the address is one that is never dialled in this cluster, or leads
// to one.
func (d *Dialer) isClosed(address netip.Addr) bool {
	return slices.Contains(d.options.Closed, address) || slices.Contains(d.options.Closed, embedded(address))
}

// isListed reports whether the operator has opened the address. A range of the host's
// Services is open only to an entry that is about Services.
func (d *Dialer) isListed(address netip.Addr) bool {
	return slices.ContainsFunc(d.options.AllowedCIDRs, func(allowed netip.Prefix) bool {
		if !allowed.Contains(address) {
			return false
		}
		return !slices.ContainsFunc(d.options.ServiceRanges, func(services netip.Prefix) bool {
			return services.Contains(address) && allowed.Bits() < services.Bits()
		})
	})
}
