package syncer

import (
	"context"
	"encoding/json"
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
	// recordPeriod is how often the state of the store is written down at most.
	recordPeriod = time.Minute
	// acceptPeriod is how often the guard looks whether an operator has accepted
	// the store that it holds back for.
	acceptPeriod = 5 * time.Second
	// firstCheck and lastCheck are the pauses between tries to look at both sides.
	firstCheck = 50 * time.Millisecond
	lastCheck  = 10 * time.Second
)

// storeGuard watches over the host when the virtual store is not what it was. A store
// that was restored from a backup, or is empty because its volume is another,
// lacks objects that run on the host, and to follow it would mean to delete them.
// So the anchor records which store it was and how far it had come, and as long as
// the store that is there is another or an older one, nothing is deleted.
type storeGuard struct {
	virtual, host client.Client
	cluster       translate.Cluster
	clock         clock.Clock
	log           logr.Logger
	// onRelease is called when deletes that were held back may go on.
	onRelease func()

	mu sync.Mutex
	// reason why deletes are held back, empty if they are not.
	reason string
	// uid is the store that deletes are allowed for.
	uid string
	// reached is the newest version that the store is known to have.
	reached string
	// recorded is the version that the anchor has.
	recorded string
}

// reasonNotCompared is the reason before the guard has looked for the first time.
const reasonNotCompared = "the virtual store has not been compared with the recorded one yet"

func newStoreGuard(virtual, host client.Client, cluster translate.Cluster, c clock.Clock, log logr.Logger) *storeGuard {
	return &storeGuard{
		virtual: virtual, host: host, cluster: cluster, clock: c, log: log,
		onRelease: func() {}, reason: reasonNotCompared,
	}
}

// onHold is the reason why nothing may be deleted, empty if it may.
func (g *storeGuard) onHold() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reason
}

// observeRevision notes a version that the virtual store has reached.
func (g *storeGuard) observeRevision(version string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reached = newerRevision(g.reached, version)
}

// newerRevision is the later one of two versions.
func newerRevision(a, b string) string {
	if a == "" {
		return b
	}
	if order, err := resourceversion.CompareResourceVersion(a, b); err == nil && order < 0 {
		return b
	}
	return a
}

// run compares the stores, holds deletes back as long as it must, and records.
func (g *storeGuard) run(ctx context.Context) {
	pause := firstCheck
	for {
		err := g.check(ctx)
		switch {
		case err != nil:
			g.log.V(1).Info("Cannot compare the virtual store with the recorded one yet", "reason", err.Error())
			pause = min(2*pause, lastCheck)
		case g.onHold() != "":
			pause = acceptPeriod
		default:
			pause = recordPeriod
		}
		select {
		case <-ctx.Done():
			return
		case <-g.clock.After(pause):
		}
	}
}

// check looks at both sides once.
func (g *storeGuard) check(ctx context.Context) error {
	if g.onHold() == "" {
		return g.recordStore(ctx, false)
	}
	uid, version, err := g.readStore(ctx)
	if err != nil {
		return err
	}
	anchor := &corev1.ConfigMap{}
	key := types.NamespacedName{Namespace: g.cluster.Namespace, Name: g.cluster.Anchor.Name}
	if err := g.host.Get(ctx, key, anchor); err != nil {
		return fmt.Errorf("cannot read anchor %s: %w", key, err)
	}
	reason := holdReason(anchor, g.cluster, uid, version)
	g.mu.Lock()
	changed := reason != g.reason
	g.reason, g.uid, g.reached = reason, uid, newerRevision(g.reached, version)
	g.recorded = anchor.Annotations[labels.StoreRevision]
	g.mu.Unlock()
	if reason != "" {
		if changed {
			g.log.Info("Nothing is deleted on the host until an operator decides", "reason", reason)
		}
		return nil
	}
	if accepted := anchor.Annotations[labels.AcceptStore]; accepted != "" {
		g.log.Info("The virtual store is accepted as the truth", "store", uid)
	}
	g.onRelease()
	return g.recordStore(ctx, true)
}

// readStore is the identity of the virtual store and how far it has come.
func (g *storeGuard) readStore(ctx context.Context) (uid, version string, err error) {
	system := &corev1.Namespace{}
	if err := g.virtual.Get(ctx, types.NamespacedName{Name: metav1.NamespaceSystem}, system); err != nil {
		return "", "", fmt.Errorf("cannot read virtual namespace %s: %w", metav1.NamespaceSystem, err)
	}
	list := &corev1.NamespaceList{}
	if err := g.virtual.List(ctx, list, client.Limit(1)); err != nil {
		return "", "", fmt.Errorf("cannot read the version of the virtual store: %w", err)
	}
	return string(system.UID), list.ResourceVersion, nil
}

// holdReason is the reason to hold deletes back, empty if there is none.
func holdReason(anchor *corev1.ConfigMap, cluster translate.Cluster, uid, version string) string {
	a := anchor.Annotations
	accept := fmt.Sprintf("to take it as the truth all the same: kubectl -n %s annotate configmap %s %s=%s",
		anchor.Namespace, anchor.Name, labels.AcceptStore, uid)
	switch {
	case string(anchor.UID) != cluster.UID:
		return fmt.Sprintf("anchor %s/%s is not the one that this release was installed with", anchor.Namespace, anchor.Name)
	case a[labels.AcceptStore] == uid, a[labels.Store] == "":
		return ""
	case a[labels.Store] != uid:
		return fmt.Sprintf("the virtual store %s is not the recorded one, %s; %s", uid, a[labels.Store], accept)
	case newerRevision(version, a[labels.StoreRevision]) != version:
		return fmt.Sprintf("the virtual store is at version %s, older than the recorded %s, as after a restore; %s",
			version, a[labels.StoreRevision], accept)
	}
	return ""
}

// recordStore writes the state of the store into the anchor if it has changed, or
// anyway.
func (g *storeGuard) recordStore(ctx context.Context, anyway bool) error {
	g.mu.Lock()
	uid, reached, recorded := g.uid, g.reached, g.recorded
	g.mu.Unlock()
	if !anyway && reached == recorded {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": g.cluster.UID,
		"annotations": map[string]any{
			labels.Store: uid, labels.StoreRevision: reached, labels.AcceptStore: nil,
		},
	}})
	if err != nil {
		return err
	}
	anchor := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: g.cluster.Namespace, Name: g.cluster.Anchor.Name}}
	if err := g.host.Patch(ctx, anchor, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("cannot record the virtual store in anchor %s: %w", client.ObjectKeyFromObject(anchor), err)
	}
	g.mu.Lock()
	g.recorded = reached
	g.mu.Unlock()
	return nil
}
