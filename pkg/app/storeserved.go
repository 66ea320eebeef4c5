package app

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/app/lifecycle"
	"github.com/sublet-dev/sublet/pkg/snapshot"
	"github.com/sublet-dev/sublet/pkg/storage"
)

// recordRetry is the time between two attempts to record the store on the anchor.
const recordRetry = 5 * time.Second

// serveOnly wraps a backend so that it opens only if it is the one store of the virtual cluster.
// If the settings ask for a move, it moves the store first.
func (a *connectedApp) serveOnly(backend storage.Backend, location string) (*snapshot.Served, error) {
	served := snapshot.NewServed(backend, location)
	served.By = a.options.identity().Pod
	served.Recorded = func() string { return a.facts.StoreLocation }
	served.Waiter = storage.Waiter{Report: a.reportStore}
	mover, err := a.newMover()
	served.Mover = mover
	return served, err
}

// moveSecretDir is where the chart mounts the Secret of the store to move from.
const moveSecretDir = "/etc/sublet-store-from" //nolint:gosec // the path of a folder

// newMover returns the mover of the store, nil if the settings do not ask for a move.
func (a *connectedApp) newMover() (*snapshot.Mover, error) {
	settings, ok := a.values.ControlPlane.BackingStore.Source()
	if !ok {
		return nil, nil //nolint:nilnil // There is nothing to move.
	}
	source, err := a.storeOf(settings, storeUse{secretDir: moveSecretDir, mustExist: true})
	if err != nil {
		return nil, err
	}
	target, err := a.targetStore()
	if err != nil {
		return nil, err
	}
	if source.Location == target.Location {
		return nil, fmt.Errorf("cannot move from %s to itself; set controlPlane.backingStore to another store, or remove moveFrom", source.Location)
	}
	return &snapshot.Mover{
		Source: source, Target: target, Cluster: string(a.facts.Anchor.UID), Identity: a.identityValue(), By: a.options.identity().Pod,
		Clock: clock.RealClock{}, Report: a.reportMove,
	}, nil
}

// reportMove logs a step of a move and keeps the replica on standby. A replica on standby is
// live, so that the kubelet does not restart it during a long move.
func (a *connectedApp) reportMove(step string, details ...any) {
	klog.InfoS(step, details...)
	a.health.setStandby("The store is being moved: " + step)
}

// storeParts returns the parts that run once the store is open.
func (a *builtApp) storeParts() []lifecycle.Part {
	parts := []lifecycle.Part{{Name: "record of the store", Run: a.recordStoreLocation}}
	if a.store.onVolume {
		return append(parts, lifecycle.Part{Name: "socket of the store", Run: a.serveStoreSocket})
	}
	return append(parts, lifecycle.Part{Name: "fence of the store", Run: a.store.served.RunFence})
}

// recordStoreLocation records the location of the open store on the anchor.
func (a *builtApp) recordStoreLocation(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.store.served.Opened():
	}
	for a.facts.StoreLocation != a.store.served.Location {
		err := a.patchStoreLocation(ctx)
		if err == nil {
			break
		}
		klog.V(2).InfoS("Cannot record the store on the anchor, retrying", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(recordRetry):
		}
	}
	<-ctx.Done()
	return nil
}

func (a *builtApp) patchStoreLocation(ctx context.Context) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": a.facts.Anchor.UID, "annotations": map[string]any{labels.StoreLocation: a.store.served.Location},
	}})
	if err != nil {
		return err
	}
	_, err = a.ownClient.CoreV1().ConfigMaps(a.names.Namespace).
		Patch(ctx, a.names.Anchor(), types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// storeVersion returns the version that the store has now, empty if it is not known.
func (a *builtApp) storeVersion(ctx context.Context) (string, error) {
	revision, err := a.store.served.CurrentRevision(ctx)
	if err != nil || revision == 0 {
		return "", err
	}
	return strconv.FormatInt(revision, 10), nil
}

// openedVersion returns the version at which this process has opened the store, and the one that the anchor
// recorded before. Both are empty if one of them is not known, as while the host is away.
func (a *builtApp) openedVersion() (opened, recorded string) {
	if a.facts.StoreRevision == 0 || a.store.served.Revision() == 0 {
		return "", ""
	}
	return strconv.FormatInt(a.store.served.Revision(), 10), strconv.FormatInt(a.facts.StoreRevision, 10)
}
