package conformance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sublet-dev/sublet/hostlab"
	"github.com/sublet-dev/sublet/hostlab/oci"
)

// debianPackages returns the packages whose programs go into images.
func debianPackages() []hostlab.Package {
	return []hostlab.Package{
		{Name: "bash", File: "/usr/bin/bash"},
		{Name: "bind9-dnsutils", File: "/usr/bin/dig"},
		{Name: "curl", File: "/usr/bin/curl"},
		{Name: "iproute2", File: "/usr/bin/ss"},
		{Name: "libc-bin", File: "/usr/bin/getent"},
		{Name: "netcat-openbsd", File: "/usr/bin/nc.openbsd"},
		{Name: "socat", File: "/usr/bin/socat"},
		{Name: "util-linux", File: "/usr/bin/ipcs"},
	}
}

// debianPrograms returns name in /usr/local/bin of an image -> file on this machine.
func debianPrograms() map[string]string {
	return map[string]string{
		"bash": "/usr/bin/bash", "dig": "/usr/bin/dig", "curl": "/usr/bin/curl", "ss": "/usr/bin/ss", "getent": "/usr/bin/getent",
		"nc": "/usr/bin/nc.openbsd", "socat": "/usr/bin/socat", "ipcs": "/usr/bin/ipcs", "hostname": "/usr/bin/hostname",
	}
}

// debianFiles returns the programs of Debian with the libraries that they load.
func debianFiles(ctx context.Context) ([]oci.File, error) {
	files := []oci.File{{Name: "usr/local/", Mode: 0o755}, {Name: "usr/local/bin/", Mode: 0o755}}
	var libraries []string
	for name, path := range debianPrograms() {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		files = append(files, oci.File{Name: "usr/local/bin/" + name, Data: data, Mode: 0o755})
		linked, err := exec.CommandContext(ctx, "ldd", path).Output()
		if err != nil {
			return nil, fmt.Errorf("cannot list the libraries of %s: %w", path, err)
		}
		libraries = append(libraries, parseLibraries(string(linked))...)
	}
	// The C library loads these by name when a program looks up a user or a host.
	for _, pattern := range []string{"/lib/*-linux-gnu/libnss_dns.so.2", "/lib/*-linux-gnu/libnss_files.so.2", "/lib/*-linux-gnu/libresolv.so.2"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		libraries = append(libraries, found...)
	}
	slices.Sort(libraries)
	folders := map[string]bool{}
	for _, library := range slices.Compact(libraries) {
		data, err := os.ReadFile(library)
		if err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(library, "/")
		files = append(files, missingFolders(folders, name)...)
		files = append(files, oci.File{Name: name, Data: data, Mode: 0o755})
	}
	slices.SortStableFunc(files[2:], func(a, b oci.File) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}

// missingFolders returns the folders above a file that are not in known, and adds them.
func missingFolders(known map[string]bool, name string) []oci.File {
	var files []oci.File
	for i, c := range name {
		if folder := name[:i] + "/"; c == '/' && folder != "usr/" && !known[folder] {
			known[folder] = true
			files = append(files, oci.File{Name: folder, Mode: 0o755})
		}
	}
	return files
}

// parseLibraries returns the paths of the libraries in the output of ldd.
func parseLibraries(text string) []string {
	var paths []string
	for line := range strings.Lines(text) {
		for field := range strings.FieldsSeq(line) {
			if strings.HasPrefix(field, "/") {
				paths = append(paths, field)
				break
			}
		}
	}
	return paths
}
