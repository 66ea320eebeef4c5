package kubeconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// maxLinks bounds a chain of symbolic links.
const maxLinks = 40

// replace replaces the content of a file. Its readers see the old content or the new one, also
// after a crash. The file gets mode 0600, as it has credentials. A symbolic link stays, and
// its target is replaced. A file that is a mount point is not replaced, but written. The caller holds the lock of the file.
func replace(path string, data []byte) error {
	target, err := resolve(path)
	if err != nil {
		return err
	}
	dir, pattern := filepath.Dir(target), "."+filepath.Base(target)+".sublet-*"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot create the folder of kubeconfig %s: %w", path, err)
	}
	removeLeftovers(filepath.Join(dir, pattern))
	temporary, err := os.CreateTemp(dir, pattern) // with mode 0600
	if err != nil {
		return fmt.Errorf("cannot write kubeconfig %s: %w", path, err)
	}
	_, err = temporary.Write(data)
	err = errors.Join(err, keepOwner(temporary, target), temporary.Sync(), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), target)
	}
	if errors.Is(err, syscall.EBUSY) {
		// A file that is mounted, as in containers, can only be written as kubectl does.
		err = errors.Join(os.WriteFile(target, data, 0o600), os.Remove(temporary.Name())) //nolint:gosec // the user names the file
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cannot write kubeconfig %s: %w", path, err), os.Remove(temporary.Name()))
	}
	return nil
}

// resolve follows symbolic links, also to a file that does not exist yet.
func resolve(path string) (string, error) {
	for range maxLinks {
		link, err := os.Readlink(path)
		if err != nil {
			return path, nil //nolint:nilerr // the path is no link
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(filepath.Dir(path), link)
		}
		path = link
	}
	return "", fmt.Errorf("cannot write kubeconfig %s: too many symbolic links", path)
}

// removeLeftovers removes files of writers that were killed. They held the lock that the caller
// has now.
func removeLeftovers(pattern string) {
	leftovers, _ := filepath.Glob(pattern)
	for _, leftover := range leftovers {
		_ = os.Remove(leftover)
	}
}

// keepOwner gives a file the owner of another one, as root may write the file of a user. It
// does nothing if that one does not exist or is ours.
func keepOwner(file *os.File, other string) error {
	info, err := os.Stat(other)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Getuid() {
		return nil
	}
	return file.Chown(int(owner.Uid), int(owner.Gid))
}
