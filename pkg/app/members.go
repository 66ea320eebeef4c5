package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/storage"
)

const (
	// memberResync is the time between two syncs of the members, if there are several. It also
	// bounds one sync.
	memberResync = 10 * time.Second
	// memberRetry is the time until a failed or unfinished sync is repeated.
	memberRetry = 500 * time.Millisecond
	// leaveTimeout bounds how long a member that is scaled down tries to leave.
	leaveTimeout = 20 * time.Second
	// askReplicasTimeout bounds the request for the number of replicas.
	askReplicasTimeout = 2 * time.Second
	// maxLeaveGrace is the longest time that leaving the store adds to a stop.
	maxLeaveGrace = leaveTimeout + askReplicasTimeout
)

// members keeps this replica in the membership of an embedded etcd with several members.
type members struct {
	*connectedApp

	others *otherReplicas // nil if no other replica can lead
	etcd   *storage.Etcd
	record *host.MemberRecord
	leaf   *pki.Leaf // nil unless others can find this replica
	// generation is the generation of the record at the start.
	generation int64
	// changes has an element if the members must be synced now.
	changes chan struct{}
	// recorded is true once the record lists this replica.
	recorded atomic.Bool
	// reported is the last reported reason why the start waits.
	reported string
}

// requestSync causes a sync of the members soon.
func (m *members) requestSync() {
	select {
	case m.changes <- struct{}{}:
	default:
	}
}

// newMembers configures the embedded etcd for other members. It listens for them only if they
// can find this replica: in a pod, or at an address from the options.
func (a *connectedApp) newMembers(ctx context.Context, etcd *storage.Etcd, others *otherReplicas) (*members, error) {
	pod := a.options.identity().Pod
	m := &members{
		connectedApp: a, others: others,
		etcd: etcd, changes: make(chan struct{}, 1), generation: a.facts.Members.Generation,
		record: &host.MemberRecord{Client: a.ownClient, Release: a.names, Anchor: a.facts.Anchor.UID},
	}
	etcd.OnWait = m.report
	etcd.Review = m.review
	etcd.Admit = m.admit
	etcd.BeforeStop = func() { m.leave(context.WithoutCancel(ctx)) }
	etcd.ForceNew = m.force(ctx, pod)
	etcd.Known = a.knownMembers(pod)
	etcd.Lone = a.replicas() == 1 && a.facts.Replicas <= 1 && len(etcd.Known.Others) == 0
	address, ok := a.peerAddress(pod)
	if !ok || a.bundle.PeerCA() == nil {
		return m, nil
	}
	return m, m.listen(ctx, pod, address)
}

// listen opens the port for other members, with a certificate that names this replica.
func (m *members) listen(ctx context.Context, pod, address string) error {
	names := pki.Names{DNS: []string{m.peerName(pod)}}
	if ip := net.ParseIP(hostOf(address)); ip != nil && !ip.IsUnspecified() {
		names.IPs = append(names.IPs, ip)
	}
	var err error
	m.leaf, err = pki.NewLeaf(clock.RealClock{}, func(now time.Time) (pki.Pair, error) { return m.bundle.Peer(now, pod, names) })
	if err != nil {
		return err
	}
	controlplane.RecordLeafExpiry("peer", m.leaf)
	m.etcd.PeerTLS = &storage.PeerTLS{Authority: m.bundle.PeerCA(), Certificate: func() (certificate, key []byte) {
		pair := m.leaf.Current()
		return pair.Cert, pair.Key
	}}
	if m.etcd.PeerListener, err = new(net.ListenConfig).Listen(ctx, "tcp", address); err != nil {
		return fmt.Errorf("cannot serve other members of the store: %w", err)
	}
	return nil
}

// memberOf returns the identity of a pod as a member of the store.
func (a *appWithFacts) memberOf(pod string) storage.Member {
	return storage.Member{Name: pod, PeerURL: a.peerURL(pod), Token: string(a.facts.Anchor.UID)}
}

// peerAddress returns the host:port on which this replica listens for other members. ok is false
// if no other member can find it.
func (a *configuration) peerAddress(pod string) (address string, ok bool) {
	if address, ok = a.options.PeerAddresses[pod]; ok {
		return cmp.Or(a.options.PeerBindAddress, address), true
	}
	return net.JoinHostPort(a.options.BindAddress, strconv.Itoa(release.PeerPort)), a.options.identity().InPod
}

// peerName returns the DNS name by which other members reach a pod.
func (a *configuration) peerName(pod string) string {
	ordinal, _ := a.names.Ordinal(pod)
	return fmt.Sprintf("%s.%s.svc", a.names.Peer(ordinal), a.names.Namespace)
}

// peerURL returns the URL by which other members reach a pod.
func (a *configuration) peerURL(pod string) string {
	address, ok := a.options.PeerAddresses[pod]
	if !ok {
		address = net.JoinHostPort(a.peerName(pod), strconv.Itoa(release.PeerPort))
	}
	return "https://" + address
}

// hostOf returns the host of a host:port.
func hostOf(address string) string {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return name
}

// knownMembers returns the recorded members of the store. Without a record, the pod with ordinal
// 0 has or creates the store, and the others join it.
func (a *appWithFacts) knownMembers(pod string) storage.Known {
	record := a.facts.Members
	if len(record.Pods) == 0 {
		record.Pods = []string{a.names.Pod(0)}
	}
	others := map[string]string{}
	for _, other := range record.Pods {
		if other != pod {
			others[other] = a.peerURL(other)
		}
	}
	if len(others) == 0 {
		return storage.Known{}
	}
	return storage.Known{MustJoin: true, Unlisted: !record.Has(pod), Others: others}
}

// admit returns an error if a pod must not become a member.
func (m *members) admit(pod string) error {
	ordinal, ok := m.names.Ordinal(pod)
	if !ok {
		return fmt.Errorf("%s is not a pod of this virtual cluster", pod)
	}
	if count, known := m.others.count(); known {
		if err := checkJoin(m.names.StatefulSet(), ordinal, count); err != nil {
			return err
		}
	}
	if m.etcd.ForceNew && !m.recorded.Load() {
		return errors.New("the new list of members is not recorded yet")
	}
	m.requestSync()
	return nil
}

// checkJoin returns an error if the pod with that ordinal must not join a store that must have
// count members.
func checkJoin(statefulSet string, ordinal, count int) error {
	switch {
	case ordinal >= count:
		return fmt.Errorf("StatefulSet %s is to have %d replicas", statefulSet, count)
	case count%2 == 0:
		return fmt.Errorf("StatefulSet %s is to have %d replicas, and no store gets safer by an even number of members: scale it to 1, 3 or 5", statefulSet, count)
	}
	return nil
}

// renewPeer renews this replica's peer certificate until ctx ends. It runs before the store is
// open: if the clock was ahead at startup, other members reject the first certificate.
func (m *members) renewPeer(ctx context.Context) error {
	m.leaf.OnRenewal(func() {
		if err := m.etcd.UpdatePeerCertificate(); err != nil {
			klog.ErrorS(err, "Cannot use the new certificate for other members of the store")
		}
	})
	m.leaf.Run(ctx, func(err error) { klog.ErrorS(err, "Cannot renew the certificate for other members, retrying") })
	return nil
}

// leaveGrace returns the additional time that this replica may need to leave the store when it
// stops.
func (m *members) leaveGrace() time.Duration {
	if m == nil {
		return 0
	}
	return maxLeaveGrace
}

// askReplicas returns spec.replicas of the StatefulSet by a live read, because the watch may be
// late.
func (m *members) askReplicas(ctx context.Context) (count int, known bool) {
	ctx, cancel := context.WithTimeout(ctx, askReplicasTimeout)
	defer cancel()
	set, err := m.ownClient.AppsV1().StatefulSets(m.names.Namespace).Get(ctx, m.names.StatefulSet(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return 0, false
	case err != nil:
		return m.others.count()
	case set.DeletionTimestamp != nil || set.Spec.Replicas == nil:
		return 0, false
	}
	return int(*set.Spec.Replicas), true
}
