package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/app/storesocket"
	"github.com/sublet-dev/sublet/pkg/snapshot"
	"github.com/sublet-dev/sublet/pkg/storage"
)

const (
	// moveBy identifies the command in the mark that a move writes to the old store.
	moveBy = "sublet-server store move"
	// leaderLeaseKey is the key of the leader's Lease in a store.
	leaderLeaseKey = "/registry/leases/" + metav1.NamespaceSystem + "/" + leaderLease
)

// move moves the virtual cluster from one store to another. The control plane must not run.
func (c *storeCommands) move(ctx context.Context, _ []string) error {
	a, err := c.app(ctx)
	if err != nil {
		return err
	}
	source, target, err := c.bothStores(a)
	if err != nil {
		return err
	}
	if err := c.checkStopped(ctx, a, source, target); err != nil {
		return err
	}
	mover := snapshot.Mover{
		Source: source, Target: target, Cluster: string(a.facts.Anchor.UID), Identity: a.identityValue(), By: moveBy,
		Clock: clock.RealClock{}, Report: c.report,
	}
	result, err := mover.Run(ctx)
	switch {
	case errors.Is(err, storage.ErrLocked):
		return c.stopFirst(a, err.Error())
	case err != nil:
		return err
	case !result.Moved:
		fmt.Fprintf(c.out, "Nothing to do: the store was moved from %s to %s before\n", source.Location, target.Location)
		return nil
	}
	fmt.Fprintf(c.out, "Moved from %s to %s. Enable the new store before the control plane starts again\n", source.Location, target.Location)
	return nil
}

// report prints a step of a move. details are key/value pairs.
func (c *storeCommands) report(step string, details ...any) {
	var line strings.Builder
	line.WriteString(step)
	for i := 0; i+1 < len(details); i += 2 {
		fmt.Fprintf(&line, " %v=%v", details[i], details[i+1])
	}
	fmt.Fprintln(c.out, line.String())
}

// bothStores returns the stores of --from and --to.
func (c *storeCommands) bothStores(a *appWithFacts) (source, target snapshot.Store, err error) {
	if source, err = a.sourceNamed(c.from); err != nil {
		return source, target, err
	}
	if target, err = a.targetNamed(c.to); err != nil {
		return source, target, err
	}
	if source.Location == target.Location {
		return source, target, fmt.Errorf("--from and --to are both %s; set one of them to another store", source.Location)
	}
	return source, target, nil
}

// sourceNamed returns the store with the given name as the source of a move or comparison. An
// empty name means the store of the setting moveFrom.
func (a *appWithFacts) sourceNamed(name string) (snapshot.Store, error) {
	all := &a.values.ControlPlane.BackingStore
	if name == "" {
		settings, ok := all.Source()
		if !ok {
			return snapshot.Store{}, errors.New("--from must name the store of the virtual cluster, as controlPlane.backingStore.moveFrom does not")
		}
		return a.storeOf(settings, storeUse{secretDir: moveSecretDir, mustExist: true})
	}
	settings, belowMoveFrom, err := all.SourceFor(v1alpha1.Store(name))
	if err != nil {
		return snapshot.Store{}, err
	}
	return a.storeOf(settings, storeUse{secretDir: secretDirFor(belowMoveFrom), mustExist: true})
}

// targetNamed returns the store with the given name as the target of a move or comparison. An
// empty name means the enabled store.
func (a *appWithFacts) targetNamed(name string) (snapshot.Store, error) {
	if name == "" {
		return a.targetStore()
	}
	settings, belowMoveFrom, err := a.values.ControlPlane.BackingStore.TargetFor(v1alpha1.Store(name))
	if err != nil {
		return snapshot.Store{}, err
	}
	return a.storeOf(settings, storeUse{secretDir: secretDirFor(belowMoveFrom)})
}

// secretDirFor returns the directory in which the Secret of a store is mounted.
func secretDirFor(belowMoveFrom bool) string {
	if belowMoveFrom {
		return moveSecretDir
	}
	return storeSecretDir
}

// checkStopped returns an error if a running control plane uses one of the stores. Opening a
// store on the volume fails while it is locked. A shared store is in use if its leader renews
// the Lease in it.
func (c *storeCommands) checkStopped(ctx context.Context, a *appWithFacts, stores ...snapshot.Store) error {
	if storesocket.Answers(ctx, a.storeSocket()) {
		return c.stopFirst(a, "it answers at "+a.storeSocket())
	}
	for _, store := range stores {
		if store.OnVolume {
			continue
		}
		holder := ""
		err := c.open(ctx, store, func(ctx context.Context, client *clientv3.Client) (err error) {
			holder, err = findLeader(ctx, client, clock.RealClock{})
			return err
		})
		if err != nil {
			return err
		}
		if holder != "" {
			return c.stopFirst(a, fmt.Sprintf("%s leads in %s", holder, store.Location))
		}
	}
	return nil
}

// stopFirst returns the error for a control plane that still runs. evidence is how that was
// found.
func (*storeCommands) stopFirst(a *appWithFacts, evidence string) error {
	return fmt.Errorf("the control plane runs: %s. Stop it by kubectl -n %s scale statefulset %s --replicas=0, or set %s to move when it starts",
		evidence, a.names.Namespace, a.names.Name, "controlPlane.backingStore.moveFrom")
}

// leaderRecord is the Lease of the leader in a store.
type leaderRecord struct {
	// holder is empty if nobody holds the lease.
	holder   string
	renewed  time.Time
	duration time.Duration
	revision int64
}

// findLeader returns the replica that holds the leader's Lease in a store, empty if none does.
// The renew time comes from the leader's clock, which may be behind. So an expired Lease is
// confirmed by watching it for its duration.
func findLeader(ctx context.Context, client *clientv3.Client, c clock.Clock) (string, error) {
	first, err := readLeader(ctx, client)
	if err != nil || first.holder == "" || !c.Now().After(first.renewed.Add(first.duration)) {
		return first.holder, err
	}
	select {
	case <-ctx.Done():
		return "", fmt.Errorf("cannot wait for the end of the leader's lease: %w", context.Cause(ctx))
	case <-c.After(first.duration):
	}
	next, err := readLeader(ctx, client)
	if err != nil || next.revision == first.revision {
		return "", err
	}
	return next.holder, nil
}

// readLeader reads the leader's Lease from a store.
func readLeader(ctx context.Context, client *clientv3.Client) (leaderRecord, error) {
	got, err := client.Get(ctx, leaderLeaseKey)
	if err != nil {
		return leaderRecord{}, fmt.Errorf("cannot read key %s: %w", leaderLeaseKey, err)
	}
	if len(got.Kvs) == 0 {
		return leaderRecord{}, nil
	}
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(got.Kvs[0].Value, nil, nil)
	if err != nil {
		return leaderRecord{}, fmt.Errorf("cannot read key %s: %w", leaderLeaseKey, err)
	}
	lease, ok := object.(*coordinationv1.Lease)
	if !ok {
		return leaderRecord{}, fmt.Errorf("cannot read key %s: it has a %T", leaderLeaseKey, object)
	}
	spec := lease.Spec
	if spec.HolderIdentity == nil || spec.RenewTime == nil || spec.LeaseDurationSeconds == nil {
		return leaderRecord{}, nil
	}
	return leaderRecord{
		holder: *spec.HolderIdentity, renewed: spec.RenewTime.Time, revision: got.Kvs[0].ModRevision,
		duration: time.Duration(*spec.LeaseDurationSeconds) * time.Second,
	}, nil
}

// verifyStores compares two stores, every key and value by hash.
func (c *storeCommands) verifyStores(ctx context.Context) error {
	a, err := c.app(ctx)
	if err != nil {
		return err
	}
	first, second, err := c.bothStores(a)
	if err != nil {
		return err
	}
	return c.open(ctx, c.running(ctx, a, first), func(ctx context.Context, one *clientv3.Client) error {
		return c.open(ctx, c.running(ctx, a, second), func(ctx context.Context, other *clientv3.Client) error {
			digest, err := snapshot.VerifyStores(ctx, one, other)
			if err == nil {
				fmt.Fprintf(c.out, "Equal: %s\n", digest)
			}
			return err
		})
	})
}
