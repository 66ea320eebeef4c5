package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// filePrefix and fileSuffix are around the time of a backup in its name.
	filePrefix, fileSuffix = "store-", ".backup"
	// partialSuffix ends the name of a file that is not complete.
	partialSuffix = ".partial"
	// timeFormat sorts as the times do.
	timeFormat = "20060102T150405Z"
)

// File is a complete backup.
type File struct {
	// Name is the name of the file in its directory.
	Name string
	// Time is when the backup was begun.
	Time time.Time
	// Size is the size in bytes.
	Size int64
}

// fileName returns the name of a backup that begins at a time.
func fileName(at time.Time) string { return filePrefix + at.UTC().Format(timeFormat) + fileSuffix }

// list returns the complete backups in a directory, the newest first. Those from after now were
// written while a clock was ahead. They come last.
func list(dir string, now time.Time) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list the backups: %w", err)
	}
	var files []File
	for _, entry := range entries {
		text, isOurs := strings.CutPrefix(strings.TrimSuffix(entry.Name(), fileSuffix), filePrefix)
		at, err := time.Parse(timeFormat, text)
		if !isOurs || err != nil || entry.Name() != fileName(at) {
			continue
		}
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue // It was deleted meanwhile, or somebody made a directory.
		}
		files = append(files, File{Name: entry.Name(), Time: at, Size: info.Size()})
	}
	slices.SortFunc(files, func(a, b File) int {
		if a.Time.After(now) != b.Time.After(now) {
			return a.Time.Compare(b.Time)
		}
		return b.Time.Compare(a.Time)
	})
	return files, nil
}

// listOwn returns the backups of this virtual cluster, in the order of list.
func (k *Keeper) listOwn(now time.Time) ([]File, error) {
	files, err := list(k.Dir, now)
	if err != nil || k.IsOwn == nil {
		return files, err
	}
	return slices.DeleteFunc(files, func(f File) bool {
		file, err := os.Open(filepath.Join(k.Dir, f.Name))
		if err != nil {
			return true
		}
		defer func() { _ = file.Close() }()
		return !k.IsOwn(file)
	}), nil
}

// write writes a backup, verifies it, and gives it its name.
func (k *Keeper) write(ctx context.Context, at time.Time) (File, error) {
	if err := removePartial(k.Dir); err != nil {
		return File{}, err
	}
	name := fileName(at)
	partial := filepath.Join(k.Dir, name+partialSuffix)
	defer func() { _ = os.Remove(partial) }()
	size, err := k.writePartial(ctx, partial)
	if err != nil {
		return File{}, err
	}
	if err := k.verify(ctx, partial); err != nil {
		return File{}, err
	}
	if err := os.Rename(partial, filepath.Join(k.Dir, name)); err != nil {
		return File{}, fmt.Errorf("cannot complete the backup: %w", err)
	}
	if err := syncDir(k.Dir); err != nil {
		_ = os.Remove(filepath.Join(k.Dir, name)) // Otherwise each retry would leave one.
		return File{}, err
	}
	return File{Name: name, Time: at.UTC().Truncate(time.Second), Size: size}, nil
}

// writePartial writes the content to a new file that only its owner reads: it has the
// tenant's Secrets.
func (k *Keeper) writePartial(ctx context.Context, path string) (size int64, err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("cannot create the backup: %w", err)
	}
	defer func() { err = errors.Join(err, closeFile(file)) }()
	counted := &counter{w: file}
	if err := k.Write(ctx, counted); err != nil {
		return 0, fmt.Errorf("cannot write the backup: %w", err)
	}
	if err := file.Sync(); err != nil {
		return 0, fmt.Errorf("cannot write the backup: %w", err)
	}
	return counted.bytes, nil
}

// verify reads a file back, from its volume.
func (k *Keeper) verify(ctx context.Context, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot read the backup: %w", err)
	}
	defer func() { _ = file.Close() }()
	if err := k.Verify(ctx, file); err != nil {
		return fmt.Errorf("cannot verify the backup: %w", err)
	}
	return nil
}

// prune deletes the oldest backups above the number to keep. The given one is the newest,
// whatever the clocks of earlier leaders were.
func (k *Keeper) prune(newest File) error {
	files, err := k.listOwn(newest.Time)
	if err != nil {
		return err
	}
	remove := k.remove
	if remove == nil {
		remove = os.Remove
	}
	var errs []error
	for _, file := range files[min(max(k.Keep, 1), len(files)):] {
		if err := remove(filepath.Join(k.Dir, file.Name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("the new backup is complete, but cannot delete an old one: %w", err))
		}
	}
	return errors.Join(errs...)
}

// removePartial removes what an interrupted backup has left.
func removePartial(dir string) error {
	partial, err := filepath.Glob(filepath.Join(dir, filePrefix+"*"+partialSuffix))
	if err != nil {
		return fmt.Errorf("cannot list incomplete backups: %w", err)
	}
	for _, path := range partial {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot remove an incomplete backup: %w", err)
		}
	}
	return nil
}

// syncDir makes a rename last.
func syncDir(dir string) error {
	opened, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot complete the backup: %w", err)
	}
	defer func() { _ = opened.Close() }()
	if err := opened.Sync(); err != nil {
		return fmt.Errorf("cannot complete the backup: %w", err)
	}
	return nil
}

func closeFile(file *os.File) error {
	if err := file.Close(); err != nil {
		return fmt.Errorf("cannot write the backup: %w", err)
	}
	return nil
}

// counter counts the bytes that pass.
type counter struct {
	w     io.Writer
	bytes int64
}

// Write writes p.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.bytes += int64(n)
	return n, err //nolint:wrapcheck // The caller names the file.
}
