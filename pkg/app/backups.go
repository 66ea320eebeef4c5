package app

import (
	"context"
	"io"
	"time"

	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/backup"
	"github.com/sublet-dev/sublet/pkg/snapshot"
	"github.com/sublet-dev/sublet/pkg/storage"
)

// restoring returns the backend, filled from a backup if the settings ask for that.
func (a *app) restoring(backend storage.Backend) (storage.Backend, error) {
	file := a.values.ControlPlane.BackingStore.Backup.RestoreFrom
	if file == "" {
		return backend, nil
	}
	store, err := a.targetStore()
	if err != nil {
		return nil, err
	}
	return &backup.Restoring{Backend: backend, Store: store, Dir: release.BackupDir, File: file, Identity: a.identityValue()}, nil
}

// buildBackups builds the keeper of the backups, if the settings ask for them.
func (a *app) buildBackups() error {
	settings := a.values.ControlPlane.BackingStore.Backup
	if !settings.Enabled {
		return nil
	}
	schedule, err := backup.ParseSchedule(settings.Schedule)
	if err != nil {
		return err
	}
	a.backups = &backup.Keeper{
		Dir: release.BackupDir, Schedule: schedule, Keep: int(settings.Keep), Clock: clock.RealClock{},
		Write: func(ctx context.Context, w io.Writer) error {
			_, _, err := snapshot.Dump(ctx, a.controlPlane.Store().Client, w, time.Now())
			return err
		},
		Verify: func(ctx context.Context, file io.ReadSeeker) error {
			_, err := snapshot.OpenDump(ctx, file)
			return err
		},
		Recorded: func(failed bool, message string) {
			a.events.RecordBackup(a.holder.AnchorOwner(), failed, message)
		},
	}
	return nil
}
