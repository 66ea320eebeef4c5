// Package cgroup reads the limits of the container that the process runs in.
package cgroup

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// MemoryLimit returns the memory limit of the cgroup in bytes, and 0 if there is none. It
// is read at each call: a container can be resized while it runs. root is the root of the
// file system.
func MemoryLimit(root string) int64 {
	limit := int64(math.MaxInt64)
	for _, file := range memoryFiles(root) {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// No limit is "max" in version 2 and a huge number in version 1.
		if value, err := strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64); err == nil && value > 0 {
			limit = min(limit, value)
		}
	}
	if limit > math.MaxInt64/2 {
		return 0
	}
	return limit
}

// memoryFiles returns the files that may hold the memory limit, of both versions
// of cgroups, inside a container and outside.
func memoryFiles(root string) []string {
	mount := filepath.Join(root, "sys/fs/cgroup")
	files := []string{filepath.Join(mount, "memory.max"), filepath.Join(mount, "memory/memory.limit_in_bytes")}
	groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return files
	}
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(fields) != 3:
		case fields[1] == "":
			files = append(files, filepath.Join(mount, fields[2], "memory.max"))
		case fields[1] == "memory":
			files = append(files, filepath.Join(mount, "memory", fields[2], "memory.limit_in_bytes"))
		}
	}
	return files
}
