package main

import (
	"archive/tar"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// measureSize measures the binary and an image of it. Sizes do not vary: one run will do.
func (b *bench) measureSize(ctx context.Context) error {
	info, err := os.Stat(b.tenant.Server)
	if err != nil {
		return fmt.Errorf("cannot find the server: %w", err)
	}
	if err := requireStripped(b.tenant.Server); err != nil {
		return err
	}
	b.add("binary", mebibytes(info.Size()))
	if !b.wanted("image") {
		return nil
	}
	archive := filepath.Join(b.dir, "image.tar")
	build := exec.CommandContext(ctx, "go", "run", "./hack/image", "--tag", "sublet:bench", "--out", archive,
		"--binary", runtime.GOOS+"/"+runtime.GOARCH+"="+b.tenant.Server)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build the image: %w\n%s", err, out)
	}
	bytes, err := imageSize(archive)
	if err != nil {
		return fmt.Errorf("cannot read the image: %w", err)
	}
	b.add("image", mebibytes(bytes))
	return nil
}

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// requireStripped fails if the binary carries a symbol table: its size would be of no
// interest.
func requireStripped(path string) error {
	binary, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	defer func() { _ = binary.Close() }()
	if binary.Section(".symtab") != nil {
		return fmt.Errorf("%s is not stripped, build it with -ldflags '-s -w'", path)
	}
	return nil
}

// descriptor is a reference to a blob in an OCI layout.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// imageSize returns the bytes to pull of the one image in an OCI archive: its
// config and its layers, compressed.
func imageSize(archive string) (int64, error) {
	var index struct {
		Manifests []descriptor `json:"manifests"`
	}
	if err := readJSON(archive, "index.json", &index); err != nil {
		return 0, err
	}
	for {
		if len(index.Manifests) != 1 {
			return 0, fmt.Errorf("%d images where one was expected", len(index.Manifests))
		}
		next := index.Manifests[0]
		if !strings.HasSuffix(next.MediaType, "index.v1+json") {
			break
		}
		index.Manifests = nil
		if err := readJSON(archive, blob(next), &index); err != nil {
			return 0, err
		}
	}
	var manifest struct {
		Config descriptor   `json:"config"`
		Layers []descriptor `json:"layers"`
	}
	if err := readJSON(archive, blob(index.Manifests[0]), &manifest); err != nil {
		return 0, err
	}
	size := manifest.Config.Size
	for _, layer := range manifest.Layers {
		size += layer.Size
	}
	return size, nil
}

// blob returns the name of a blob's file.
func blob(d descriptor) string { return "blobs/" + strings.Replace(d.Digest, ":", "/", 1) }

// readJSON reads one file of a tar archive.
func readJSON(archive, name string, into any) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	for entries := tar.NewReader(file); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s holds no %s", archive, name)
		}
		if err != nil {
			return err
		}
		if strings.TrimPrefix(header.Name, "./") == name {
			return json.NewDecoder(entries).Decode(into)
		}
	}
}
