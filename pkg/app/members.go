package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
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

var (
	errRemoving = errors.New("another member may have to be removed") // removes at most one per sync
	errLeaving  = errors.New("a member that is scaled down still runs, and leaves by itself")
)

// members keeps this replica in the membership of an embedded etcd with several members.
type members struct {
	etcd   *storage.Etcd
	record *host.MemberRecord
	leaf   *pki.Leaf
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
func (a *builtApp) newMembers(ctx context.Context, etcd *storage.Etcd) error {
	pod := a.options.identity().Pod
	a.members = &members{
		etcd: etcd, changes: make(chan struct{}, 1), generation: a.facts.Members.Generation,
		record: &host.MemberRecord{Client: a.hostClient, Release: a.names, Anchor: a.facts.Anchor.UID},
	}
	etcd.OnWait = a.reportMembers
	etcd.Review = a.reviewMembers
	etcd.Admit = a.admitMember
	etcd.BeforeStop = func() { a.leaveMembers(context.WithoutCancel(ctx)) }
	etcd.ForceNew = a.forceMember(ctx, pod)
	etcd.Known = a.knownMembers(pod)
	etcd.Lone = a.replicas() == 1 && a.facts.Replicas <= 1 && len(etcd.Known.Others) == 0
	address, ok := a.peerAddress(pod)
	if !ok || a.bundle.PeerCA() == nil {
		return nil
	}
	names := pki.Names{DNS: []string{a.peerName(pod)}}
	if ip := net.ParseIP(hostOf(address)); ip != nil && !ip.IsUnspecified() {
		names.IPs = append(names.IPs, ip)
	}
	var err error
	a.members.leaf, err = pki.NewLeaf(clock.RealClock{}, func(now time.Time) (pki.Pair, error) { return a.bundle.Peer(now, pod, names) })
	if err != nil {
		return err
	}
	controlplane.RecordLeafExpiry("peer", a.members.leaf)
	etcd.PeerTLS = &storage.PeerTLS{Authority: a.bundle.PeerCA(), Certificate: func() (certificate, key []byte) {
		pair := a.members.leaf.Current()
		return pair.Cert, pair.Key
	}}
	if etcd.PeerListener, err = new(net.ListenConfig).Listen(ctx, "tcp", address); err != nil {
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

// admitMember returns an error if a pod must not become a member.
func (a *builtApp) admitMember(pod string) error {
	ordinal, ok := a.names.Ordinal(pod)
	if !ok {
		return fmt.Errorf("%s is not a pod of this virtual cluster", pod)
	}
	if count, known := a.desiredReplicas(); known {
		if err := checkJoin(a.names.StatefulSet(), ordinal, count); err != nil {
			return err
		}
	}
	if a.members.etcd.ForceNew && !a.members.recorded.Load() {
		return errors.New("the new list of members is not recorded yet")
	}
	a.members.requestSync()
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

// desiredReplicas returns spec.replicas of the StatefulSet from the watch.
func (a *builtApp) desiredReplicas() (count int, known bool) {
	if a.desired == nil {
		return 0, false
	}
	return a.desired.Count()
}

// renewPeer renews this replica's peer certificate until ctx ends. It runs before the store is
// open: if the clock was ahead at startup, other members reject the first certificate.
func (a *builtApp) renewPeer(ctx context.Context) error {
	a.members.leaf.OnRenewal(func() {
		if err := a.members.etcd.UpdatePeerCertificate(); err != nil {
			klog.ErrorS(err, "Cannot use the new certificate for other members of the store")
		}
	})
	a.members.leaf.Run(ctx, func(err error) { klog.ErrorS(err, "Cannot renew the certificate for other members, retrying") })
	return nil
}

// runMembers syncs the members of the store with the StatefulSet until ctx ends.
func (a *builtApp) runMembers(ctx context.Context) error {
	if a.desired != nil {
		a.desired.OnChange(func(int) { a.members.requestSync() })
	}
	for {
		pause, err := a.syncMembers(ctx)
		if err != nil {
			return err
		}
		var later <-chan time.Time
		if pause > 0 {
			later = clock.RealClock{}.After(pause)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.members.changes:
		case <-later:
		}
	}
}

// syncMembers takes the next step towards the desired members. It returns when to sync again, 0
// for only after the next change. A lone member does not poll.
func (a *builtApp) syncMembers(ctx context.Context) (pause time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, memberResync)
	defer cancel()
	if a.members.etcd.HasLeader() != nil {
		return memberRetry, a.reviewRecord(ctx)
	}
	for _, step := range []func(context.Context) error{a.recordSelf, a.promoteSelf, a.removeExcess, a.yieldLead} {
		if err := step(ctx); err != nil {
			klog.V(2).InfoS("Cannot change the members of the store yet, retrying", "err", err)
			return memberRetry, nil
		}
	}
	if len(a.members.etcd.Members()) > 1 {
		return memberResync, nil
	}
	return 0, nil
}

// recordSelf adds this replica to the record. That must happen before the replica gets a vote.
func (a *builtApp) recordSelf(ctx context.Context) error {
	if a.members.recorded.Load() {
		return nil
	}
	pod := a.options.identity().Pod
	_, err := a.members.record.Update(ctx, func(record host.Members) (host.Members, error) {
		if record.Forcing == pod {
			record.Forcing = ""
		}
		return record.With(pod), nil
	})
	if err != nil {
		return err
	}
	a.members.recorded.Store(true)
	return nil
}

// promoteSelf makes this replica a voting member.
func (a *builtApp) promoteSelf(ctx context.Context) error {
	if a.members.etcd.IsVoter() == nil {
		return nil
	}
	if err := a.members.etcd.Promote(ctx); err != nil {
		return err
	}
	klog.InfoS("Became a member of the store with a vote", "pod", a.options.identity().Pod)
	return nil
}

// removeExcess removes one member that the StatefulSet was scaled down below. Without such a
// member, it updates the record. It acts only on the member that leads the store. A running
// member is not removed: it leaves by itself once it has served its last request.
func (a *builtApp) removeExcess(ctx context.Context) error {
	if !a.members.etcd.IsLeader() {
		return nil
	}
	count, known := a.desiredReplicas()
	if !known || count == 0 {
		return a.recordMembers(ctx)
	}
	var errs []error
	for _, member := range a.members.etcd.Members() {
		ordinal, ok := a.ordinalOf(member)
		if !ok || ordinal < count || member.Self {
			continue
		}
		if a.members.etcd.Answers(ctx, member.URL) {
			errs = append(errs, errLeaving)
			continue
		}
		err := a.members.etcd.RemoveMember(ctx, member.URL)
		if err == nil {
			klog.InfoS("Removed a member of the store that is scaled down", "member", member.Name, "replicas", count)
			return errRemoving
		}
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return a.recordMembers(ctx)
}

// recordMembers updates the record from the members of the store.
func (a *builtApp) recordMembers(ctx context.Context) error {
	_, err := a.members.record.Update(ctx, func(record host.Members) (host.Members, error) {
		if err := a.members.etcd.ConfirmMembers(ctx); err != nil {
			return record, err
		}
		pods := []string{}
		for _, member := range a.members.etcd.Members() {
			if ordinal, ok := a.ordinalOf(member); ok && !member.Learner {
				pods = append(pods, a.names.Pod(ordinal))
			}
			if ordinal, ok := a.ordinalOf(member); ok && member.Learner && record.Has(a.names.Pod(ordinal)) {
				pods = append(pods, a.names.Pod(ordinal)) // It may become a voter at any time.
			}
		}
		slices.Sort(pods)
		record.Pods = pods
		return record, nil
	})
	return err
}

// ordinalOf returns the ordinal of a member's pod. A learner that has not started yet is found
// by its URL, because it has no name.
func (a *configuration) ordinalOf(member storage.MemberStatus) (ordinal int, ok bool) {
	if ordinal, ok = a.names.Ordinal(member.Name); ok {
		return ordinal, true
	}
	for ordinal := range release.MaxMembers {
		if a.peerURL(a.names.Pod(ordinal)) == member.URL {
			return ordinal, true
		}
	}
	return 0, false
}

// leaveMembers removes this replica from the store if the StatefulSet was scaled down below it.
func (a *builtApp) leaveMembers(ctx context.Context) {
	ordinal, ok := a.names.Ordinal(a.options.identity().Pod)
	count, known := a.askReplicas(ctx)
	if !ok || !known || count == 0 || ordinal < count || len(a.members.etcd.Members()) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
	defer cancel()
	klog.InfoS("Leaving the members of the store, as this replica is scaled down", "replicas", count)
	if err := a.members.etcd.Leave(ctx); err != nil {
		klog.ErrorS(err, "Cannot leave the members of the store; the leader removes this one")
	}
}

// leaveGrace returns the additional time that this replica may need to leave the store when it
// stops.
func (a *builtApp) leaveGrace() time.Duration {
	if a.members == nil {
		return 0
	}
	return maxLeaveGrace
}

// askReplicas returns spec.replicas of the StatefulSet by a live read, because the watch may be
// late.
func (a *builtApp) askReplicas(ctx context.Context) (count int, known bool) {
	ctx, cancel := context.WithTimeout(ctx, askReplicasTimeout)
	defer cancel()
	set, err := a.hostClient.AppsV1().StatefulSets(a.names.Namespace).Get(ctx, a.names.StatefulSet(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return 0, false
	case err != nil:
		return a.desiredReplicas()
	case set.DeletionTimestamp != nil || set.Spec.Replicas == nil:
		return 0, false
	}
	return int(*set.Spec.Replicas), true
}
