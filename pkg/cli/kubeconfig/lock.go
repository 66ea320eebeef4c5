package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// foreignPatience is the age at which a lock file of kubectl is taken for a leftover. kubectl
// holds it for milliseconds, and does not record who holds it.
const foreignPatience = 10 * time.Second

// lock is the lock of one kubeconfig file. It is the file that kubectl uses as a lock too, so
// that neither writes while the other does. Ours is locked by flock in addition, so that it is
// free once its holder is dead.
type lock struct {
	file *os.File
}

// acquire waits until it has the lock of a kubeconfig file, or until ctx ends. It takes over lock
// files that a dead process left behind.
func acquire(ctx context.Context, kubeconfig string) (*lock, error) {
	target, err := resolve(kubeconfig)
	if err != nil {
		return nil, err
	}
	path := target + ".lock"
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("cannot create the folder of kubeconfig %s: %w", kubeconfig, err)
	}
	for {
		held, err := tryAcquire(path)
		if err != nil {
			return nil, fmt.Errorf("cannot lock kubeconfig %s: %w", kubeconfig, err)
		}
		if held != nil {
			return held, nil
		}
		timer := time.NewTimer(time.Millisecond + rand.N(4*time.Millisecond)) //nolint:gosec // a pause needs no secret randomness
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("cannot lock kubeconfig %s: another process holds %s: %w", kubeconfig, path, ctx.Err())
		case <-timer.C:
		}
	}
}

// tryAcquire returns the lock, or nil if another process has it.
func tryAcquire(path string) (*lock, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		info, statErr := os.Stat(path)
		if statErr != nil {
			return nil, err
		}
		return nil, removeForeign(path, info)
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if info.Mode().Perm() == 0 {
		return nil, errors.Join(removeForeign(path, info), file.Close())
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
			err = nil
		}
		return nil, errors.Join(err, file.Close())
	}
	// The holder before us may have removed the file after we opened it.
	now, err := os.Stat(path)
	if err != nil || !os.SameFile(info, now) {
		return nil, file.Close()
	}
	return &lock{file: file}, nil
}

// removeDeadLock removes the lock file of a kubeconfig if it is ours and nobody holds it. It does
// nothing otherwise: the next writer reports what is wrong.
func removeDeadLock(kubeconfig string) {
	target, err := resolve(kubeconfig)
	if err != nil {
		return
	}
	path := target + ".lock"
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() == 0 {
		return
	}
	if held, err := tryAcquire(path); err == nil && held != nil {
		held.release()
	}
}

// removeForeign removes a lock file of kubectl that is too old to have a holder. kubectl
// creates its own without any permission.
func removeForeign(path string, info fs.FileInfo) error {
	if info.Mode().Perm() != 0 {
		return fmt.Errorf("%s: %w", path, fs.ErrPermission)
	}
	if time.Since(info.ModTime()) < foreignPatience {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// release releases the lock. The file goes first, so that nobody locks a file that is gone.
func (l *lock) release() {
	_ = os.Remove(l.file.Name())
	_ = l.file.Close()
}
