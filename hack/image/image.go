package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sublet-dev/sublet/hostlab/oci"
)

// serverPath is where the binary is in the image.
const serverPath = "/sublet-server"

// user is the user and group that the server runs as. It is a number, so that
// kubelets can verify that it is not root.
const user = "65532:65532"

// passwd and group name the user, for tools that look into the container.
const (
	passwd = "root:x:0:0:root:/:/sbin/nologin\nsublet:x:65532:65532:sublet:/:/sbin/nologin\n" //nolint:gosec // a file without passwords
	group  = "root:x:0:\nsublet:x:65532:\n"
)

// spec describes the images of all platforms.
type spec struct {
	binaries    []binary
	labels      map[string]string
	tag         reference.NamedTagged
	compression oci.Compression
	created     time.Time
}

// binary is the server for one platform.
type binary struct {
	platform v1.Platform
	path     string
}

// size is what a platform's image takes in a registry.
type size struct {
	platform string
	bytes    int64
}

// setTag takes the name of the image. A short name is completed as Kubernetes
// completes it, so that a pod that uses it finds the image.
func (s *spec) setTag(name string) error {
	if name == "" {
		return errors.New("--tag is missing")
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return fmt.Errorf("--tag %s: %w", name, err)
	}
	tagged, ok := named.(reference.NamedTagged)
	if !ok {
		return fmt.Errorf("--tag %s: want NAME:TAG", name)
	}
	s.tag = tagged
	return nil
}

// build makes the image of every platform and the index over them.
func (s *spec) build() (v1.ImageIndex, []size, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	var sizes []size
	for _, b := range s.binaries {
		image, err := s.buildImage(b)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot build the image for %s: %w", b.platform.String(), err)
		}
		bytes, err := compressedSize(image)
		if err != nil {
			return nil, nil, err
		}
		sizes = append(sizes, size{platform: b.platform.String(), bytes: bytes})
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &b.platform},
		})
	}
	return index, sizes, nil
}

// buildImage returns the image of one platform.
func (s *spec) buildImage(b binary) (v1.Image, error) {
	content, err := os.ReadFile(b.path)
	if err != nil {
		return nil, err
	}
	if err := checkBinary(b); err != nil {
		return nil, fmt.Errorf("%s: %w", b.path, err)
	}
	return oci.Image{
		Platform: b.platform,
		Config: v1.Config{
			User:       user,
			Entrypoint: []string{serverPath},
			WorkingDir: "/",
			Env:        []string{"PATH=/"},
			Labels:     s.imageLabels(),
		},
		Files: []oci.File{
			{Name: "etc/", Mode: 0o755},
			{Name: "etc/group", Mode: 0o644, Data: []byte(group)},
			{Name: "etc/passwd", Mode: 0o644, Data: []byte(passwd)},
			{Name: strings.TrimPrefix(serverPath, "/"), Mode: 0o755, Data: content},
		},
		Created:     s.created,
		CreatedBy:   "sublet hack/image",
		Compression: s.compression,
	}.Build()
}

// imageLabels returns the labels that describe the image, and the given ones.
func (s *spec) imageLabels() map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.title":       "sublet-server",
		"org.opencontainers.image.description": "A virtual Kubernetes cluster in one pod",
		"org.opencontainers.image.source":      "https://github.com/sublet-dev/sublet",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     s.tag.Tag(),
	}
	maps.Copy(labels, s.labels)
	return labels
}

// compressedSize returns what a registry stores for the image: manifest, config and
// layers.
func compressedSize(image v1.Image) (int64, error) {
	manifest, err := image.Manifest()
	if err != nil {
		return 0, err
	}
	total, err := image.Size()
	if err != nil {
		return 0, err
	}
	total += manifest.Config.Size
	for _, layer := range manifest.Layers {
		total += layer.Size
	}
	return total, nil
}

// checkBinary refuses what would not start in an empty image: a binary of
// another platform, or one that needs a dynamic linker.
func checkBinary(b binary) error {
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	want, known := machines[b.platform.Architecture]
	if b.platform.OS != "linux" || !known {
		return fmt.Errorf("platform %s is not supported: want linux/amd64 or linux/arm64", b.platform.String())
	}
	file, err := elf.Open(b.path)
	if err != nil {
		return fmt.Errorf("not a Linux binary: %w", err)
	}
	defer func() { _ = file.Close() }()
	if file.Machine != want {
		return fmt.Errorf("the binary is for %s, not for %s", file.Machine, b.platform.String())
	}
	for _, program := range file.Progs {
		if program.Type == elf.PT_INTERP {
			return errors.New("the binary is not static: build it with CGO_ENABLED=0")
		}
	}
	return nil
}
