package controlplane

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A secretFile has a path, for libraries that read keys by path only. It is on no
// disk: it is anonymous memory, gone with the process.
type secretFile struct {
	file *os.File
	path string
}

// newSecretFile makes a file that only this process can open.
func newSecretFile(name string, content []byte) (*secretFile, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cannot keep %s in memory: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	f := &secretFile{file: file, path: fmt.Sprintf("/proc/self/fd/%d", fd)}
	if err := f.replace(content); err != nil {
		f.release()
		return nil, err
	}
	return f, nil
}

// replace overwrites the content.
func (f *secretFile) replace(content []byte) error {
	if _, err := f.file.WriteAt(content, 0); err != nil {
		return fmt.Errorf("cannot keep %s in memory: %w", f.file.Name(), err)
	}
	if err := f.file.Truncate(int64(len(content))); err != nil {
		return fmt.Errorf("cannot keep %s in memory: %w", f.file.Name(), err)
	}
	return nil
}

func (f *secretFile) release() { _ = f.file.Close() }
