package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

const (
	// recordPeriod is how often the state of the store is recorded at most.
	recordPeriod = time.Minute
	// barredPeriod is how often the guard checks whether this replica may write.
	barredPeriod = time.Second
	// acceptPeriod is how often the guard checks whether an operator has accepted the
	// store.
	acceptPeriod = 5 * time.Second
	// firstCheck and lastCheck bound the pause between two tries to read both sides.
	firstCheck = 50 * time.Millisecond
	lastCheck  = 10 * time.Second
)

// storeGuard puts deletes on the host on hold until the virtual store proves to be the one that
// the anchor records. A store that was restored from a backup, or is empty because it has
// another volume, lacks objects that run on the host. Syncing from it would delete them. So
// the anchor records the identity and the revision of the store. While the store is another
// one or is older, nothing is deleted.
type storeGuard struct {
	virtual, host client.Client
	cluster       translate.Cluster
	clock         clock.Clock
	log           logr.Logger
	// mayWrite returns why this replica must not write to the host, nil if it may.
	mayWrite func() error
	// restore returns the ID of the last restore of the virtual store, empty if there was none.
	// The revision does not show a restore, because a restored store starts above all earlier
	// revisions.
	restore func() string
	// opened returns the version of the virtual store when this process opened it, and the one that the
	// anchor recorded then. Both are empty if they are not known. A start writes to the store, which may
	// hide that it is an older one.
	opened func() (opened, recorded string)
	// current returns the version that the virtual store has now, empty if it is not known. It comes from no cache: a cache
	// does not see that somebody has put the store back to an earlier state.
	current func(ctx context.Context) (string, error)
	// onPutBack is called once the anchor records that the store was put back. All caches must then be read again.
	onPutBack func(reason error)
	// onRelease is called when what was on hold may continue.
	onRelease func()
	wake      chan struct{} // ends the pause of run

	mu sync.Mutex
	// reason why deletes are on hold, empty if they are not.
	reason string
	// barred is true from the first reason of mayWrite until a check finds none.
	barred bool
	// uid is the identity of the store, as readStore returns it.
	uid string
	// reached is the newest revision that the store is known to have.
	reached string
	// recorded is the revision that the anchor has.
	recorded string
	// lost is the revision that the store had reached before it was put back, empty if it was not.
	lost string
}

// reasonNotCompared is the reason before the first check.
const reasonNotCompared = "the virtual store has not been compared with the recorded one yet"

func newStoreGuard(virtual, host client.Client, cluster translate.Cluster, c clock.Clock, log logr.Logger) *storeGuard {
	return &storeGuard{
		virtual: virtual, host: host, cluster: cluster, clock: c, log: log,
		mayWrite: func() error { return nil }, restore: func() string { return "" }, opened: func() (string, string) { return "", "" },
		current: func(context.Context) (string, error) { return "", nil }, onPutBack: func(error) {}, onRelease: func() {}, reason: reasonNotCompared,
		wake: make(chan struct{}, 1),
	}
}

// onHold returns why nothing may be deleted, empty if it may.
func (g *storeGuard) onHold() string {
	if err := g.barReason(); err != nil {
		return err.Error()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reason
}

// barReason returns why this replica must not write to the host at all, nil if it
// may. The guard then checks until it may again.
func (g *storeGuard) barReason() error {
	err := g.mayWrite()
	if err == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.barred {
		g.barred = true
		g.log.Info("Writes to the host are on hold", "reason", err.Error())
		select {
		case g.wake <- struct{}{}:
		default:
		}
	}
	return err
}

// observeRevision records a version that the virtual store has reached.
func (g *storeGuard) observeRevision(version string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reached = newerRevision(g.reached, version)
}

// newerRevision returns the later one of two versions.
func newerRevision(a, b string) string {
	if a == "" {
		return b
	}
	if order, err := resourceversion.CompareResourceVersion(a, b); err == nil && order < 0 {
		return b
	}
	return a
}

// run checks the store until ctx ends: often while deletes are on hold, else once a minute to
// record its revision.
func (g *storeGuard) run(ctx context.Context) {
	pause := firstCheck
	for {
		err := g.check(ctx)
		switch {
		case err != nil:
			g.log.V(2).Info("Cannot compare the virtual store with the recorded one, retrying", "err", err.Error())
			pause = min(2*pause, lastCheck)
		case g.isBarred():
			pause = barredPeriod
		case g.onHold() != "":
			pause = acceptPeriod
		default:
			pause = recordPeriod
		}
		select {
		case <-ctx.Done():
			return
		case <-g.wake:
			pause = barredPeriod
		case <-g.clock.After(pause):
		}
	}
}

// check records the progress of the store, unless somebody has put it back to an earlier state. While deletes are on hold,
// it compares the store with the recorded one instead. It does nothing while this replica must not write.
func (g *storeGuard) check(ctx context.Context) error {
	if g.isBarred() {
		return nil
	}
	if g.unbar() {
		g.onRelease()
	}
	if lost := g.lostRevision(); lost != "" {
		return g.recordPutBack(ctx, lost)
	}
	if g.onHold() != "" {
		return g.compareStore(ctx)
	}
	if err := g.findPutBack(ctx); err != nil {
		return err
	}
	if lost := g.lostRevision(); lost != "" {
		return g.recordPutBack(ctx, lost)
	}
	return g.recordProgress(ctx)
}

// currentTimeout limits how long the guard waits for the version of the store. A database may accept a request and never
// answer.
const currentTimeout = 10 * time.Second

// findPutBack looks whether the store was put back to an earlier state while it is open, as by a restore of its database. If
// so, it holds deletes until this process ends. What the tenant writes next would hide the loss from the next start, so
// recordPutBack records it.
func (g *storeGuard) findPutBack(ctx context.Context) error {
	g.mu.Lock()
	reached := g.reached // Before the read: the store only grows.
	g.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, currentTimeout)
	defer cancel()
	version, err := g.current(limited)
	if err != nil {
		return fmt.Errorf("cannot read the version of the virtual store: %w", err)
	}
	if version == "" || reached == "" || newerRevision(version, reached) == version {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lost = reached
	g.reason = fmt.Sprintf("the virtual store is at version %s, and was at %s, as after a restore", version, reached)
	g.log.Info("Deletes on the host are on hold, and the process will start again", "reason", g.reason)
	return nil
}

// lostRevision returns the revision that the store had reached before it was put back, empty if it was not.
func (g *storeGuard) lostRevision() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lost
}

// recordPutBack records on the anchor that the store was put back, so that the next start asks the operator.
func (g *storeGuard) recordPutBack(ctx context.Context, lost string) error {
	g.mu.Lock()
	uid, reason := g.uid, g.reason
	g.mu.Unlock()
	if err := g.patchAnchor(ctx, map[string]any{labels.Store: lostStore(uid, lost), labels.StoreRevision: lost}); err != nil {
		return err
	}
	g.onPutBack(errors.New(reason))
	return nil
}

// compareStore compares the store with the recorded one. If they match, or the operator accepts the
// store, it continues what was on hold and records the store.
func (g *storeGuard) compareStore(ctx context.Context) error {
	uid, version, err := g.readStore(ctx)
	if err != nil {
		return err
	}
	anchor := &corev1.ConfigMap{}
	key := types.NamespacedName{Namespace: g.cluster.Namespace, Name: g.cluster.Anchor.Name}
	if err := g.host.Get(ctx, key, anchor); err != nil {
		return fmt.Errorf("cannot get anchor %s: %w", key, err)
	}
	found := storeState{uid: uid, version: version}
	if opened, recorded := g.opened(); recorded == anchor.Annotations[labels.StoreRevision] {
		found.opened = opened
	}
	reason := holdReason(anchor, g.cluster, found)
	g.mu.Lock()
	changed := reason != g.reason
	g.reason, g.uid, g.reached = reason, uid, newerRevision(g.reached, version)
	g.recorded = anchor.Annotations[labels.StoreRevision]
	g.mu.Unlock()
	if reason != "" {
		if changed {
			g.log.Info("Deletes on the host are on hold until the store is accepted", "reason", reason)
		}
		return g.recordLost(ctx, anchor, found)
	}
	if accepted := anchor.Annotations[labels.AcceptStore]; accepted != "" {
		g.log.Info("Store accepted by the operator", "store", uid)
	}
	g.onRelease()
	return g.recordStore(ctx)
}

// isBarred reports whether this replica must not write to the host.
func (g *storeGuard) isBarred() bool { return g.barReason() != nil }

// unbar records that this replica may write, and reports whether that is new.
func (g *storeGuard) unbar() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	barred := g.barred
	g.barred = false
	return barred
}

// readStore returns the identity and the revision of the virtual store. Each restore gives it
// another identity.
func (g *storeGuard) readStore(ctx context.Context) (uid, version string, err error) {
	system := &corev1.Namespace{}
	if err := g.virtual.Get(ctx, types.NamespacedName{Name: metav1.NamespaceSystem}, system); err != nil {
		return "", "", fmt.Errorf("cannot get virtual namespace %s: %w", metav1.NamespaceSystem, err)
	}
	list := &corev1.NamespaceList{}
	if err := g.virtual.List(ctx, list, client.Limit(1)); err != nil {
		return "", "", fmt.Errorf("cannot list virtual namespaces: %w", err)
	}
	uid = string(system.UID)
	if restore := g.restore(); restore != "" {
		uid += "." + restore
	}
	return uid, list.ResourceVersion, nil
}

// storeState is what the guard has found out about the virtual store.
type storeState struct {
	uid, version string
	// opened is the version at which this process has opened the store, empty if no comparison with it is valid.
	opened string
}

// oldest returns the oldest version that this process has seen of the store.
func (s storeState) oldest() string {
	if s.opened != "" && newerRevision(s.opened, s.version) == s.version {
		return s.opened
	}
	return s.version
}

// isOlder reports whether the store was at an older version than the recorded one.
func (s storeState) isOlder(anchor *corev1.ConfigMap) bool {
	return newerRevision(s.oldest(), anchor.Annotations[labels.StoreRevision]) != s.oldest()
}

// lostStore returns how the anchor names the recorded store once an older one was opened in its place.
func lostStore(uid, revision string) string { return uid + "@" + revision }

// holdReason returns why deletes must be on hold, empty if they need not.
func holdReason(anchor *corev1.ConfigMap, cluster translate.Cluster, store storeState) string {
	a := anchor.Annotations
	accept := fmt.Sprintf("to take it as the truth all the same: kubectl -n %s annotate configmap %s %s=%s",
		anchor.Namespace, anchor.Name, labels.AcceptStore, store.uid)
	switch {
	case string(anchor.UID) != cluster.UID:
		return fmt.Sprintf("anchor %s/%s is not the one that this release was installed with", anchor.Namespace, anchor.Name)
	case a[labels.AcceptStore] == store.uid, a[labels.Store] == "":
		return ""
	case a[labels.Store] == lostStore(store.uid, a[labels.StoreRevision]):
		return fmt.Sprintf("the virtual store was at a version older than the recorded %s, as after a restore; %s",
			a[labels.StoreRevision], accept)
	case a[labels.Store] != store.uid:
		return fmt.Sprintf("the virtual store %s is not the recorded one, %s; %s", store.uid, a[labels.Store], accept)
	case store.isOlder(anchor):
		return fmt.Sprintf("the virtual store was at version %s, older than the recorded %s, as after a restore; %s",
			store.oldest(), a[labels.StoreRevision], accept)
	}
	return ""
}

// recordLost records on the anchor that an older state of the recorded store was opened. Without that, the
// next start may find a version that is newer again.
func (g *storeGuard) recordLost(ctx context.Context, anchor *corev1.ConfigMap, found storeState) error {
	a := anchor.Annotations
	if string(anchor.UID) != g.cluster.UID || a[labels.Store] != found.uid || !found.isOlder(anchor) {
		return nil
	}
	return g.patchAnchor(ctx, map[string]any{labels.Store: lostStore(found.uid, a[labels.StoreRevision])})
}

// recordProgress records the state of the store in the anchor if its revision has changed.
func (g *storeGuard) recordProgress(ctx context.Context) error {
	g.mu.Lock()
	hasProgress := g.reached != g.recorded
	g.mu.Unlock()
	if !hasProgress {
		return nil
	}
	return g.recordStore(ctx)
}

// recordStore records the state of the store in the anchor.
func (g *storeGuard) recordStore(ctx context.Context) error {
	g.mu.Lock()
	uid, reached := g.uid, g.reached
	g.mu.Unlock()
	err := g.patchAnchor(ctx, map[string]any{labels.Store: uid, labels.StoreRevision: reached, labels.AcceptStore: nil})
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.recorded = reached
	g.mu.Unlock()
	return nil
}

// patchAnchor writes annotations of the anchor.
func (g *storeGuard) patchAnchor(ctx context.Context, annotations map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": g.cluster.UID, "annotations": annotations}})
	if err != nil {
		return err
	}
	anchor := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: g.cluster.Namespace, Name: g.cluster.Anchor.Name}}
	if err := g.host.Patch(ctx, anchor, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("cannot record the virtual store in anchor %s: %w", client.ObjectKeyFromObject(anchor), err)
	}
	return nil
}
