package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/snapshot"
	"github.com/sublet-dev/sublet/pkg/storage"
)

// Latest is the name of the newest backup, whichever that is.
const Latest = "latest"

// Restoring is a Backend that fills an empty store from a backup before it opens. It leaves
// a store with content as it is.
type Restoring struct {
	storage.Backend

	// Store is the same store as Backend.
	Store snapshot.Store
	// Dir has the backups, and File is the name of one of them, or [Latest].
	Dir, File string
	// AtLeast is a revision that clients may have seen. The restored store starts above it.
	AtLeast int64
	// Identity is the value of the identity that the store gets.
	Identity string
	// Report is called with what is done before a restore begins, and with an empty text at its end.
	// Default: nobody learns it.
	Report func(reason string)
	// Waiter waits while the store is away, or the backup cannot be restored.
	Waiter storage.Waiter
}

// Start restores the store if it is empty, and opens it.
func (r *Restoring) Start(ctx context.Context) (*kubernetes.Client, error) {
	err := r.Waiter.Retry(ctx, func(ctx context.Context) error {
		if err := r.restore(ctx); err != nil {
			return fmt.Errorf("cannot restore the store from backup %s: %w", r.File, err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r.Backend.Start(ctx)
}

// restore fills the store from the backup, unless it has content.
func (r *Restoring) restore(ctx context.Context) error {
	// The backup may be gone by now: the setting stays when the restore is over.
	switch err := snapshot.CheckEmpty(ctx, r.Store); {
	case snapshot.IsNotEmpty(err):
		klog.InfoS("The store has content, so the backup is not restored", "file", r.File)
		return nil
	case err != nil:
		return err
	}
	path, err := r.find()
	if err != nil {
		return err
	}
	if r.Report != nil {
		r.Report("The store is being restored from backup " + filepath.Base(path))
		defer r.Report("")
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	dump, err := snapshot.OpenDump(ctx, file)
	if err != nil {
		return err
	}
	options := snapshot.RestoreOptions{Identity: r.Identity, AtLeast: r.AtLeast, By: "restore of a backup"}
	if err := snapshot.Restore(ctx, r.Store, dump, options); err != nil {
		return err
	}
	klog.InfoS("Restored the store from a backup", "file", filepath.Base(path), "revision", dump.Header.Revision, "content", dump.Digest)
	return nil
}

// find returns the path of the backup.
func (r *Restoring) find() (string, error) {
	if r.File != Latest {
		return filepath.Join(r.Dir, filepath.Base(r.File)), nil
	}
	files, err := list(r.Dir, clock.RealClock{}.Now())
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", errors.New("the claim has no backup")
	}
	return filepath.Join(r.Dir, files[0].Name), nil
}
