package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
)

// reserveFactor is how many times larger than the reserve the free space must be to create it.
const reserveFactor = 3

// reserve is a file that occupies space on the volume. On a full volume neither
// the raft log nor the database can grow, and etcd ends the process at each
// start. Deleting the file leaves room to start, delete objects and compact.
type reserve struct {
	path string
	size int64 // bytes; 0 disables the reserve
	free func() (int64, error)
}

func newReserve(dir string, size int64) *reserve {
	return &reserve{
		path: filepath.Join(dir, "reserve"),
		size: size,
		free: func() (int64, error) { return freeSpace(dir) },
	}
}

// release deletes the reserve if the volume has no room to start.
func (r *reserve) release() error {
	free, err := r.free()
	if err != nil || free >= minFree {
		return nil //nolint:nilerr // without an answer the start shows what is wrong
	}
	if err := os.Remove(r.path); err != nil && !errors.Is(err, os.ErrNotExist) { //nolint:gosec // the folder of the store
		return fmt.Errorf("cannot delete %s to free space: %w", r.path, err)
	}
	return nil
}

// set creates the reserve if it is missing and the volume has plenty of room.
func (r *reserve) set() error {
	if r.size == 0 {
		return nil
	}
	if _, err := os.Stat(r.path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if free, err := r.free(); err != nil || free < reserveFactor*r.size {
		return err
	}
	file, err := os.OpenFile(r.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("cannot create %s: %w", r.path, err)
	}
	err = errors.Join(fileutil.Preallocate(file, r.size, true), file.Close())
	if err != nil {
		return errors.Join(fmt.Errorf("cannot fill %s: %w", r.path, err), os.Remove(r.path))
	}
	return nil
}
