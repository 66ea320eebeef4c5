package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// pageAlignment divides the size of every database file. A snapshot ends with a
// checksum behind it.
const pageAlignment = 512

var (
	errNotEmpty    = errors.New("the data directory holds a store already")
	errNoChecksum  = errors.New("the snapshot is incomplete: it does not end with a checksum")
	errBadChecksum = errors.New("the snapshot is damaged: its checksum does not match")
)

// snapshot writes the database at one revision to w, and its checksum. The
// format is that of etcdctl snapshot save.
func (e *Etcd) snapshot(ctx context.Context, w io.Writer) error {
	frozen := e.server.Backend().Snapshot()
	defer func() { _ = frozen.Close() }()

	sum := sha256.New()
	if _, err := frozen.WriteTo(io.MultiWriter(cancelledWriter{ctx, w}, sum)); err != nil {
		// The database's own error does not wrap the writer's.
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("cannot write snapshot: %w", err)
	}
	if _, err := w.Write(sum.Sum(nil)); err != nil {
		return fmt.Errorf("cannot write snapshot: %w", err)
	}
	return nil
}

// cancelledWriter fails once its context has ended.
type cancelledWriter struct {
	ctx context.Context //nolint:containedctx // io.Writer has no parameter for it
	w   io.Writer
}

// Write writes p, unless the context has ended.
func (c cancelledWriter) Write(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}

// restore fills the data directory from a snapshot. The restored store is a new
// cluster of one member, with the content and the revision of the snapshot. It
// fails if the directory holds a store; an interrupted restore leaves none.
func (e *Etcd) restore(ctx context.Context, r io.Reader) error {
	if err := e.lockDir(); err != nil {
		return err
	}
	target := e.serverDir()
	if _, err := os.Stat(target); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot restore into %s: %w", e.Dir, errNotEmpty)
	}
	building := target + ".restore"
	if err := os.RemoveAll(building); err != nil {
		return fmt.Errorf("cannot restore into %s: %w", e.Dir, err)
	}
	defer func() { _ = os.RemoveAll(building) }()

	files := layout{building}
	if err := os.MkdirAll(files.snapDir(), 0o700); err != nil {
		return fmt.Errorf("cannot restore into %s: %w", e.Dir, err)
	}
	if err := receiveSnapshot(ctx, r, files.database()); err != nil {
		return fmt.Errorf("cannot restore into %s: %w", e.Dir, err)
	}
	logger := e.logger()
	if err := startCluster(logger, files, e.Member.withDefaults()); err != nil {
		return fmt.Errorf("cannot restore into %s: %w", e.Dir, err)
	}
	if err := os.Rename(building, target); err != nil {
		return fmt.Errorf("cannot restore into %s: %w", e.Dir, err)
	}
	return nil
}

// layout has the paths inside the folder of an etcd server.
type layout struct{ dir string }

func (l layout) snapDir() string  { return filepath.Join(l.dir, "member", "snap") }
func (l layout) walDir() string   { return filepath.Join(l.dir, "member", "wal") }
func (l layout) database() string { return filepath.Join(l.snapDir(), "db") }

// receiveSnapshot writes the database of a snapshot to path and verifies its
// checksum.
func receiveSnapshot(ctx context.Context, r io.Reader, path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	size, err := io.Copy(cancelledWriter{ctx, file}, r)
	if err != nil {
		return err
	}
	if size < sha256.Size || size%pageAlignment != sha256.Size {
		return errNoChecksum
	}
	size -= sha256.Size
	var want [sha256.Size]byte
	if _, err := file.ReadAt(want[:], size); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(file, 0, size)); err != nil {
		return err
	}
	if [sha256.Size]byte(sum.Sum(nil)) != want {
		return errBadChecksum
	}
	if err := file.Truncate(size); err != nil {
		return err
	}
	return file.Sync()
}
