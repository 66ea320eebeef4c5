package storage

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockFile takes the advisory lock of a file, which the kernel releases when
// the file is closed or its process ends, however it ends.
func lockFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return file, nil
	}
	_ = file.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, ErrLocked
	}
	return nil, fmt.Errorf("cannot lock %s: %w", path, err)
}

// unlockFile releases the lock of a file and closes it. Close alone is not enough: a child that
// another goroutine starts has a copy of the descriptor until it executes its program.
func unlockFile(file *os.File) {
	_ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN)
	_ = file.Close()
}
