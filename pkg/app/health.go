package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/app/operator"
	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// health aggregates the health of the process. It answers probes and reports from the start of
// the process on, even while this replica must not serve.
type health struct {
	mu sync.Mutex
	// standby is the reason why this replica does not serve. It is empty if the replica serves
	// or is starting.
	standby string
	// api is a client of the API server over the loopback transport. It is nil until the API
	// server is ready.
	api rest.Interface
	// leaf is the certificate of the operator's port. It is nil until the PKI is loaded.
	leaf *pki.Leaf
	// allows checks the operator's bearer token. It is nil until the PKI is loaded.
	allows func(token string) bool
	// membership returns an error if this replica is not a voting member of the store. It is
	// nil unless the store is an embedded etcd.
	membership func() error
	// hasLeader returns an error if the store has no leader. It is nil unless the store is an
	// embedded etcd.
	hasLeader func() error
	// checks has one function per part, in start order. Pointers identify them for removal.
	checks []*func() []syncz.Check
}

var (
	errStarting = errors.New("starting")
	errStandby  = errors.New("this replica does not serve")
)

func (h *health) setStandby(reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.standby, h.api = reason, nil
}

func (h *health) setStarting() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.standby = ""
}

func (h *health) setServing(api rest.Interface) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.api = api
}

// add adds the checks of a part to the report. The returned function removes them.
func (h *health) add(checks func() []syncz.Check) (remove func()) {
	entry := &checks
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, entry)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.checks = slices.DeleteFunc(h.checks, func(other *func() []syncz.Check) bool { return other == entry })
	}
}

func (h *health) state() (standby string, api rest.Interface) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.standby, h.api
}

// checkLive returns an error if the process is not live. A replica on standby is live, because a
// restart would not help. A starting one is not, so that the startup probe waits until the start
// is over.
func (h *health) checkLive(ctx context.Context) error {
	standby, api := h.state()
	h.mu.Lock()
	hasLeader := h.hasLeader
	h.mu.Unlock()
	switch {
	case api != nil && hasLeader != nil && hasLeader() != nil:
		return nil //nolint:nilerr // A restart does not help: the store needs its other members.
	case standby != "":
		return nil
	case api == nil:
		return errStarting
	}
	return queryHealth(ctx, api, "/livez")
}

// ready returns an error if this replica does not serve.
func (h *health) ready(ctx context.Context) error {
	standby, api := h.state()
	h.mu.Lock()
	membership := h.membership
	h.mu.Unlock()
	switch {
	case standby != "":
		return errStandby
	case api == nil:
		return errStarting
	}
	if membership != nil {
		if err := membership(); err != nil {
			return err
		}
	}
	return queryHealth(ctx, api, "/readyz")
}

// queryHealth queries a health endpoint of the API server over the loopback transport.
func queryHealth(ctx context.Context, api rest.Interface, path string) error {
	if _, err := api.Get().AbsPath(path).MaxRetries(0).DoRaw(ctx); err != nil {
		return fmt.Errorf("the API server fails %s", path)
	}
	return nil
}

// report returns the health of all parts for operators.
func (h *health) report() syncz.Report {
	h.mu.Lock()
	own := syncz.Check{Name: "server", Healthy: true, Message: "The virtual API is served."}
	switch {
	case h.standby != "":
		own.Healthy, own.Message, own.Details = false, "This replica does not serve.", []string{h.standby}
	case h.api == nil:
		own.Healthy, own.Message = false, "The API server is starting."
	}
	parts := slices.Clone(h.checks)
	h.mu.Unlock()
	checks := []syncz.Check{own}
	for _, part := range parts {
		checks = append(checks, (*part)()...)
	}
	return syncz.NewReport(checks...)
}

// certificate returns the certificate of the operator's port. It fails until the PKI of the
// virtual cluster is loaded.
func (h *health) certificate() (*tls.Certificate, error) {
	h.mu.Lock()
	leaf := h.leaf
	h.mu.Unlock()
	if leaf == nil {
		return nil, errStarting
	}
	pair := leaf.Current()
	certificate, err := tls.X509KeyPair(pair.Cert, pair.Key)
	return &certificate, err
}

func (h *health) allowsToken(token string) bool {
	h.mu.Lock()
	allows := h.allows
	h.mu.Unlock()
	return allows != nil && allows(token)
}

// newOperatorPort opens the operator's port.
func (a *app) newOperatorPort(ctx context.Context) (*operator.Server, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", a.options.operatorAddress())
	if err != nil {
		return nil, fmt.Errorf("cannot serve the operator's port: %w", err)
	}
	return operator.New(operator.Options{
		Listener:    listener,
		Live:        a.health.checkLive,
		Ready:       a.health.ready,
		Report:      a.health.report,
		Metrics:     operator.Metrics(legacyregistry.DefaultGatherer, a.health.report),
		Profiling:   a.values.ControlPlane.Advanced.Operator.Profiling,
		Allows:      a.health.allowsToken,
		Certificate: a.health.certificate,
	}), nil
}

// connectHealth sets the certificate and the token of the operator's port, and adds the checks of
// all parts.
func (a *builtApp) connectHealth() error {
	service := a.names.Operator() + "." + a.names.Namespace
	names := pki.Names{
		DNS: []string{"localhost", a.names.Operator(), service, service + ".svc", a.names.Controllers() + "." + a.names.Namespace + ".svc"},
		IPs: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if ip := net.ParseIP(a.options.AdvertiseAddress); ip != nil {
		names.IPs = append(names.IPs, ip)
	}
	leaf, err := newServingLeaf(a.bundle, names)
	if err != nil {
		return err
	}
	controlplane.RecordLeafExpiry("operator", leaf)
	a.health.mu.Lock()
	a.health.leaf, a.health.allows = leaf, a.secrets.operator.Allows
	if members := a.store.members; members != nil {
		a.health.membership, a.health.hasLeader = members.etcd.IsVoter, members.etcd.HasLeader
	}
	a.health.mu.Unlock()
	a.health.add(a.holder.Checks)
	if checks := a.store.Capabilities().Checks; checks != nil {
		a.health.add(checks)
	}
	a.health.add(a.controlPlane.Checks)
	if a.backups != nil {
		a.health.add(a.backups.Checks)
	}
	if a.scaler != nil {
		a.health.add(a.scaler.Checks)
	}
	if a.address != nil {
		a.health.add(a.address.Checks)
	}
	for _, secret := range a.secrets.keepers {
		a.health.add(secret.Checks)
	}
	return nil
}

func newServingLeaf(bundle *pki.Bundle, names pki.Names) (*pki.Leaf, error) {
	return pki.NewLeaf(clock.RealClock{}, func(now time.Time) (pki.Pair, error) { return bundle.Serving(now, names) })
}

// runHealth connects the probes to the API server, which is ready by then. It also records the
// UID of the store on the volume, and renews the certificate of the operator's port.
func (a *builtApp) runHealth(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(a.controlPlane.ClientConfig(healthUser, pki.GroupAdmins))
	if err != nil {
		return err
	}
	a.health.setServing(client.CoreV1().RESTClient())
	defer a.health.setServing(nil)
	system, err := client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err == nil {
		a.factsMu.Lock()
		err = a.facts.RecordStore(a.options.DataDir, string(system.UID))
		a.factsMu.Unlock()
	}
	if err != nil && ctx.Err() == nil {
		klog.ErrorS(err, "Cannot record the UID of the store, retrying at the next start")
	}
	a.health.leaf.Run(ctx, func(err error) { klog.ErrorS(err, "Cannot renew the certificate of the operator's port, retrying") })
	return nil
}
