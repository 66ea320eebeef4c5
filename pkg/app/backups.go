package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/backup"
	"github.com/sublet-dev/sublet/pkg/snapshot"
	"github.com/sublet-dev/sublet/pkg/storage"
)

// unrecordedRevisions is more revisions than a store adds in the minute between two records of
// its revision on the anchor.
const unrecordedRevisions = 100_000

// withRestore wraps the backend so that it restores a backup at the start, if the settings ask
// for that. One of several members of a store joins the others instead.
func (a *connectedApp) withRestore(backend storage.Backend, members *members) (storage.Backend, error) {
	file := a.values.ControlPlane.BackingStore.Backup.RestoreFrom
	if file == "" || members.hasOthers() {
		return backend, nil
	}
	store, err := a.targetStore()
	if err != nil {
		return nil, err
	}
	return &backup.Restoring{
		Backend: backend, Store: store, Dir: release.BackupDir, File: file,
		AtLeast: seenRevision(a.facts.StoreRevision), Identity: a.identityValue(),
		Report: a.reportRestore, Waiter: storage.Waiter{Report: a.reportStore},
	}, nil
}

// reportRestore puts the replica on standby during a restore. A replica on standby is live, so
// that the kubelet does not restart it during a long restore.
func (a *connectedApp) reportRestore(reason string) {
	if reason == "" {
		a.health.setStarting()
		return
	}
	a.health.setStandby(reason)
}

// comparePause is the time between two checks of awaitStore.
const comparePause = time.Second

// awaitStore waits until the engine of the leader has compared the store with the record on the
// anchor. It returns an error if they differ and the operator has not accepted the store.
func (a *connectedApp) awaitStore(ctx context.Context) error {
	for {
		if engine, _, _ := a.hostFirst.load(); engine != nil {
			if reason, compared := engine.StoreHold(); compared && reason == "" {
				return nil
			} else if compared {
				return errors.New(reason)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot compare the store with the recorded one: %w", context.Cause(ctx))
		case <-time.After(comparePause):
		}
	}
}

// seenRevision returns a revision that is at least as high as any that a client may have seen.
// recorded is the revision on the anchor. The result is 0 if that is 0.
func seenRevision(recorded int64) int64 {
	if recorded == 0 {
		return 0
	}
	return recorded + unrecordedRevisions
}

// hasOthers reports whether this replica is one of several members of a store. The config
// validation allows a restore only with one replica, but "kubectl scale" bypasses it.
func (m *members) hasOthers() bool {
	if m == nil {
		return false
	}
	replicas := m.facts.Replicas
	if replicas == 0 { // The host did not respond.
		replicas = len(m.facts.Members.Pods)
	}
	return replicas > 1
}

// newBackups returns the keeper of scheduled backups, nil if they are off.
func (a *openApp) newBackups() (*backup.Keeper, error) {
	settings := a.values.ControlPlane.BackingStore.Backup
	if !settings.Enabled {
		return nil, nil //nolint:nilnil // There are no backups to keep.
	}
	schedule, err := backup.ParseSchedule(settings.Schedule)
	if err != nil {
		return nil, err
	}
	return &backup.Keeper{
		Dir: release.BackupDir, Schedule: schedule, Keep: int(settings.Keep), Clock: clock.RealClock{},
		Write: func(ctx context.Context, w io.Writer) error {
			_, _, err := snapshot.Dump(ctx, a.api.controlPlane.Store().Client, w, time.Now())
			return err
		},
		Verify: func(ctx context.Context, file io.ReadSeeker) error {
			_, err := snapshot.OpenDump(ctx, file)
			return err
		},
		IsOwn: func(file io.ReadSeeker) bool {
			header, err := snapshot.ReadHeader(file)
			anchor := header.Identity.Anchor
			return err == nil && (anchor == "" || anchor == string(a.facts.Anchor.UID)) // Older dumps have none.
		},
		Await: a.awaitStore,
		Recorded: func(o backup.Outcome) {
			a.events.RecordBackup(a.holder.AnchorOwner(), o.Failed, o.Message)
		},
	}, nil
}
