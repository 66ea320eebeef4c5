package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/release"
)

const (
	// roleDelay is how long the host may take until a new RoleBinding is effective.
	roleDelay = 10 * time.Second
	// askTimeout bounds all requests of one attempt.
	askTimeout = 10 * time.Second
)

// Discovery reads the facts of the host that a start needs, and makes this replica the holder.
type Discovery struct {
	// Client reaches the host.
	Client kubernetes.Interface
	// Release is the release that the process serves.
	Release release.Release
	// Identity is the pod of the process.
	Identity Identity
	// IsShared reports whether several replicas use the store, or may have used it in an
	// earlier run. known are the facts of the last run, nil if there are none. replicas is
	// spec.replicas of the StatefulSet, 0 if it is not known. Default: the store is not shared.
	IsShared func(known *Facts, replicas int) bool
	// DataDir has the store and a copy of the facts.
	DataDir string
	// ServiceCIDR is the Service CIDR from the settings. If it is empty, the host is asked.
	ServiceCIDR string
	// NodePortRange is the node port range from the settings. If it is empty, the host may be
	// asked.
	NodePortRange string
	// AsksNodePorts allows asking the host for its node port range, which needs the permission
	// to create Services. Default: without a setting the range is unknown.
	AsksNodePorts bool
	// CompleteCerts adds keys that the certs Secret of an earlier release does not have.
	// changed is false if none is missing. Default: nothing is added.
	CompleteCerts func(data map[string][]byte, now time.Time) (complete map[string][]byte, changed bool, err error)
	// CheckCerts returns why the data of a certs Secret cannot be used. Default: all can.
	CheckCerts func(data map[string][]byte) error
	// NewCerts returns the data of a new certs Secret.
	NewCerts func(now time.Time) (map[string][]byte, error)
	// Events records Events on the anchor. Default: none are recorded.
	Events *Events
	// Clock is the time.
	Clock clock.Clock
}

// Discover returns the facts of the host and the claim of this replica. It retries until the
// host responds. If the host does not respond, Discover returns the facts of an earlier run, so
// that the virtual API is available without its host. The claim is not proven then.
//
// While another replica serves, or an operator must decide about the store, Discover calls
// standby with the reason and waits. It fails if the host returns something that the server
// cannot work with.
func (d *Discovery) Discover(ctx context.Context, standby func(reason string)) (*Facts, *Holder, error) {
	holder := &Holder{client: d.Client, release: d.Release, identity: d.Identity, clock: d.Clock}
	backoff, begin := newBackoff(), d.Clock.Now()
	logged := ""
	for {
		facts, err := d.attempt(ctx, holder)
		if err == nil {
			return facts, holder, d.save(facts)
		}
		reason, isStandby := asStandby(err)
		switch {
		case isStandby:
			standby(reason)
			d.reportStandby(holder, logged, reason)
			logged = reason
		case ctx.Err() != nil:
			return nil, nil, err
		case d.isDecided(err, begin):
			if known, ok := d.loadUnproven(holder, err); ok {
				return known, holder, nil
			}
			if !d.isRetriable(err, begin) {
				return nil, nil, err
			}
			fallthrough
		default:
			if logged == "" {
				klog.InfoS("Cannot discover the host yet, waiting", "err", err)
			}
			logged = err.Error()
		}
		select {
		case <-ctx.Done():
			return nil, nil, err
		case <-d.Clock.After(backoff.Step()):
		}
	}
}

// reportStandby logs why this replica does not serve, and records an Event for operators. It does not
// repeat the reason that was reported last.
func (d *Discovery) reportStandby(holder *Holder, last, reason string) {
	if reason == last {
		return
	}
	klog.InfoS("Standing by, not serving", "reason", reason)
	d.Events.record(holder.AnchorOwner(), corev1.EventTypeWarning, "Standby", reason)
}

// save writes the copy of the facts. It tolerates a failure if there is an earlier copy of the
// same anchor. The volume may be full, and the store can start nevertheless, because it has
// reserved space.
func (d *Discovery) save(facts *Facts) error {
	err := facts.save(d.DataDir)
	if known, ok := LoadFacts(d.DataDir); err != nil && ok && known.Anchor.UID == facts.Anchor.UID {
		klog.ErrorS(err, "Cannot renew the copy of the facts of the host, starting without that")
		return nil
	}
	return err
}

// asStandby returns the reason of a *StandbyError.
func asStandby(err error) (reason string, ok bool) {
	standby, ok := errors.AsType[*StandbyError](err)
	if !ok {
		return "", false
	}
	return standby.Reason, true
}

// loadUnproven returns the facts of an earlier run for a start without the host, and initializes
// the holder from them. ok is false if no usable ones are on the volume. It is also false unless cause
// is a host that does not respond, or that denies access, as after a change of a Role. If the host lacks
// an object of the release, the volume must have the keys and the store.
func (d *Discovery) loadUnproven(holder *Holder, cause error) (*Facts, bool) {
	known, ok := LoadFacts(d.DataDir)
	if !ok {
		return nil, false
	}
	isComplete := known.hasCerts() && (hasStore(d.DataDir) || d.isShared(known, 0))
	if !isUnreachable(cause) && !apierrors.IsForbidden(cause) && !apierrors.IsUnauthorized(cause) && (!isComplete || !lacksObject(cause)) {
		return nil, false
	}
	known.Shared = d.isShared(known, 0)
	if !known.Shared && !d.mayServeUnproven(known) {
		return nil, false
	}
	klog.InfoS("Cannot discover the host, starting with the facts of the last run; syncing waits", "err", cause)
	holder.record, holder.anchor, holder.lastError = known.Holder, known.Anchor, cause.Error()
	holder.shared = known.Shared
	return known, true
}

// lacksObject reports whether an error is that the host lacks an object of the release, or that something before it
// answers so. Nothing else is wrong then: nobody else serves, and the store is that of the release.
func lacksObject(err error) bool {
	if _, ok := errors.AsType[*factError](err); ok {
		return true
	}
	status := apierrors.APIStatus(nil)
	return errors.As(err, &status) && slices.Contains([]int32{http.StatusNotFound, http.StatusRequestTimeout, http.StatusGone}, status.Status().Code)
}

// isRetriable reports whether the host may soon respond differently. A new RoleBinding may not
// be effective yet, and another writer may have changed the anchor meanwhile.
func (d *Discovery) isRetriable(err error, begin time.Time) bool {
	early := apierrors.IsForbidden(err) && d.Clock.Since(begin) < roleDelay
	return early || apierrors.IsConflict(err) || isUnreachable(err)
}

// isDecided reports whether no better answer of the host is to be expected soon. A new RoleBinding becomes
// effective, an overloaded host asks to come back, a lost connection is opened again, and a conflict passes. A
// missing object may just be created again.
func (d *Discovery) isDecided(err error, begin time.Time) bool {
	_, busy := apierrors.SuggestsClientDelay(err)
	if (busy || isLostConnection(err) || apierrors.IsNotFound(err)) && d.Clock.Since(begin) < askTimeout {
		return false
	}
	return isUnreachable(err) || !d.isRetriable(err, begin)
}

// isShared reports whether several replicas use the store.
func (d *Discovery) isShared(known *Facts, replicas int) bool {
	return d.IsShared != nil && d.IsShared(known, replicas)
}

// mayServeUnproven reports whether a replica with these facts may serve while the host does not
// respond. Its pod must have the name of the last holder.
func (d *Discovery) mayServeUnproven(known *Facts) bool {
	holder := known.Holder.Pod
	if holder == "" {
		holder = d.Release.Pod(0) // facts of a version without records
	}
	return holder == d.Identity.Pod
}

// answers are the responses of the host in one attempt.
type answers struct {
	anchor *corev1.ConfigMap
	facts  Facts
	certs  *corev1.Secret // nil if there is none
}

// attempt reads everything from the host once, claims the anchor, and then creates or completes
// the certs Secret. It writes nothing before the claim.
func (d *Discovery) attempt(ctx context.Context, holder *Holder) (*Facts, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	seen, err := d.readFacts(ctx)
	if err != nil {
		return nil, d.checkAnchor(ctx, err)
	}
	holder.anchor = d.Release.AnchorOwner(seen.anchor.UID)
	known, ok := LoadFacts(d.DataDir)
	if ok && hasStore(d.DataDir) {
		if err := acceptKept(d.Release, known, seen.anchor); err != nil {
			return nil, err
		}
	}
	facts := seen.facts
	facts.Shared = d.isShared(known, facts.Replicas)
	if err := holder.enter(ctx, seen.anchor, facts.Shared); err != nil {
		return nil, err
	}
	facts.StoreLocation, facts.StoreRevision = locationOf(seen.anchor), RevisionOf(seen.anchor)
	if ok {
		facts.Store = known.Store
	}
	facts.Holder = holder.Record()
	certs, err := d.certs(ctx, known, &facts, seen)
	if err != nil {
		return nil, err
	}
	facts.Certs = certs.Data
	return &facts, nil
}

// checkAnchor returns why an attempt has failed. The facts of the last run replace an object that the host lacks. Those
// of another release do not, so that the replica waits.
func (d *Discovery) checkAnchor(ctx context.Context, cause error) error {
	known, ok := LoadFacts(d.DataDir)
	if !ok || !lacksObject(cause) {
		return cause
	}
	if anchor, err := d.getAnchor(ctx); err == nil && anchor.UID != known.Anchor.UID {
		return &StandbyError{fmt.Sprintf("the volume has the store of an earlier release, and the host lacks an object of this one: %v", cause)}
	}
	return cause
}

// readFacts reads all facts from the host in parallel.
func (d *Discovery) readFacts(ctx context.Context) (*answers, error) {
	seen := &answers{}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) { seen.anchor, err = d.getAnchor(ctx); return })
	group.Go(func() (err error) { seen.facts.ServiceIP, err = d.clusterIP(ctx, d.Release.Service()); return })
	group.Go(func() (err error) { seen.facts.DNSServiceIP, err = d.clusterIP(ctx, d.Release.DNS()); return })
	group.Go(func() (err error) { seen.facts.ServiceCIDR, err = d.hostCIDR(ctx); return })
	group.Go(func() error { seen.facts.NodePortRange = d.hostNodePorts(ctx); return nil })
	group.Go(func() (err error) { seen.facts.Replicas, err = d.replicas(ctx); return })
	group.Go(func() error {
		secret, err := d.Client.CoreV1().Secrets(d.Release.Namespace).Get(ctx, d.Release.Certs(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		seen.certs = secret
		return wrap(err, "get host Secret %s", d.Release.Certs())
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	seen.facts.Anchor = d.Release.AnchorOwner(seen.anchor.UID)
	seen.facts.Members = membersOf(seen.anchor)
	if seen.facts.ServiceCIDR == "" {
		seen.facts.ServiceCIDR = widestCIDR(seen.facts.ServiceIP)
	}
	return seen, nil
}

func (d *Discovery) getAnchor(ctx context.Context) (*corev1.ConfigMap, error) {
	anchor, err := d.Client.CoreV1().ConfigMaps(d.Release.Namespace).Get(ctx, d.Release.Anchor(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, &factError{fmt.Sprintf("host ConfigMap %s/%s does not exist: it is part of the Helm release, "+
			"which owns all that is synced; run helm upgrade to create it again", d.Release.Namespace, d.Release.Anchor())}
	}
	return anchor, wrap(err, "get host ConfigMap %s", d.Release.Anchor())
}

func (d *Discovery) clusterIP(ctx context.Context, name string) (string, error) {
	service, err := d.Client.CoreV1().Services(d.Release.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", wrap(err, "get host Service %s", name)
	}
	if net.ParseIP(service.Spec.ClusterIP) == nil {
		return "", &factError{fmt.Sprintf("host Service %s/%s has no ClusterIP (%q): pods of the virtual cluster could not reach it",
			d.Release.Namespace, name, service.Spec.ClusterIP)}
	}
	return service.Spec.ClusterIP, nil
}

// hostCIDR returns the Service CIDRs of the host, with a comma between IP families. The result
// is empty if the host has no ServiceCIDR object or the server must not read it.
func (d *Discovery) hostCIDR(ctx context.Context) (string, error) {
	if d.ServiceCIDR != "" {
		return d.ServiceCIDR, nil
	}
	cidr, err := d.Client.NetworkingV1().ServiceCIDRs().Get(ctx, "kubernetes", metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return "", nil
	}
	if err != nil {
		return "", wrap(err, "get host ServiceCIDR kubernetes")
	}
	return strings.Join(cidr.Spec.CIDRs, ","), nil
}

// replicas returns spec.replicas of the StatefulSet, 0 if the host has none or the server must
// not read it.
func (d *Discovery) replicas(ctx context.Context) (int, error) {
	set, err := d.Client.AppsV1().StatefulSets(d.Release.Namespace).Get(ctx, d.Release.StatefulSet(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) || apierrors.IsForbidden(err):
		return 0, nil
	case err != nil:
		return 0, wrap(err, "get host StatefulSet %s", d.Release.StatefulSet())
	case set.Spec.Replicas == nil:
		return 1, nil
	}
	return int(*set.Spec.Replicas), nil
}

// wrap returns err with the action that failed. It returns nil for nil.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot "+format+": %w", append(args, err)...)
}
