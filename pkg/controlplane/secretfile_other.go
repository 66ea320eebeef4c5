//go:build !linux

package controlplane

import (
	"fmt"
	"os"
)

// A secretFile has a path, for libraries that read keys by path only. Where
// the system has no anonymous files it is a temporary one.
type secretFile struct {
	path string
}

func newSecretFile(name string, content []byte) (*secretFile, error) {
	file, err := os.CreateTemp("", name)
	if err != nil {
		return nil, fmt.Errorf("cannot keep %s: %w", name, err)
	}
	f := &secretFile{path: file.Name()}
	_ = file.Close()
	if err := f.replace(content); err != nil {
		f.release()
		return nil, err
	}
	return f, nil
}

func (f *secretFile) replace(content []byte) error {
	if err := os.WriteFile(f.path, content, 0o600); err != nil {
		return fmt.Errorf("cannot keep %s: %w", f.path, err)
	}
	return nil
}

func (f *secretFile) release() { _ = os.Remove(f.path) }
