package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	stdbinary "encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/klauspost/compress/zstd"
)

// writeBinary writes the head of a binary for machine, with text behind it.
func writeBinary(t *testing.T, machine elf.Machine, text string, dynamic bool) string {
	t.Helper()
	header := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Ehsize: 64}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA], header.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	var content bytes.Buffer
	if dynamic {
		header.Phoff, header.Phentsize, header.Phnum = 64, 56, 1
	}
	for _, part := range []any{header, elf.Prog64{Type: uint32(elf.PT_INTERP)}} {
		if err := stdbinary.Write(&content, stdbinary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	content.WriteString(text)
	path := filepath.Join(t.TempDir(), "server")
	if err := os.WriteFile(path, content.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// makeImage runs the command and gives what it printed and the archive's path.
func makeImage(t *testing.T, env map[string]string, args ...string) (printed, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "image.tar")
	var out bytes.Buffer
	err := run(append(args, "--out", path), &out, func(key string) string { return env[key] })
	if err != nil {
		t.Fatalf("run(%q): %v", args, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".image-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	return out.String(), path
}

// unpack opens the archive as a layout, as a registry's tools do.
func unpack(t *testing.T, path string) layout.Path {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	directory := t.TempDir()
	reader := tar.NewReader(file)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(directory, header.Name)
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(to, 0o700)
		} else {
			var content []byte
			if content, err = io.ReadAll(reader); err == nil {
				err = os.WriteFile(to, content, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	opened, err := layout.FromPath(directory)
	if err != nil {
		t.Fatalf("not an OCI layout: %v", err)
	}
	return opened
}

// readInnerIndex returns the image index in the layout, and the annotations that name it.
func readInnerIndex(t *testing.T, path string) (v1.ImageIndex, map[string]string) {
	t.Helper()
	outer, err := unpack(t, path).ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := outer.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("want one entry in the layout, got %v, %v", manifest, err)
	}
	index, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	// The thorough check opens gzip only; TestImage opens the layers itself.
	if err := validate.Index(index, validate.Fast); err != nil {
		t.Errorf("the index does not hold together: %v", err)
	}
	return index, manifest.Manifests[0].Annotations
}

func TestImage(t *testing.T) {
	t.Parallel()
	amd64 := writeBinary(t, elf.EM_X86_64, "amd64", false)
	arm64 := writeBinary(t, elf.EM_AARCH64, "arm64", false)
	cases := map[string]struct {
		reason    string
		args      []string
		mediaType types.MediaType
		open      func(io.Reader) (io.Reader, error)
	}{
		"Default": {
			reason:    "zstd is the smaller one",
			mediaType: types.OCILayerZStd,
			open:      func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) },
		},
		"Gzip": {
			reason:    "older tools know gzip only",
			args:      []string{"--compression", "gzip"},
			mediaType: types.OCILayer,
			open:      func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			printed, path := makeImage(t, nil, append(tc.args, "--binary", "linux/amd64="+amd64, "--binary", "linux/arm64="+arm64,
				"--tag", "sublet:v1", "--label", "org.opencontainers.image.revision=abc")...)
			if want := "image linux/amd64 0.0 MiB\nimage linux/arm64 0.0 MiB\n"; printed != want {
				t.Errorf("want %q printed, got %q", want, printed)
			}
			index, annotations := readInnerIndex(t, path)
			wantAnnotations := map[string]string{
				"io.containerd.image.name":          "docker.io/library/sublet:v1",
				"org.opencontainers.image.ref.name": "v1",
			}
			if diff := cmp.Diff(wantAnnotations, annotations); diff != "" {
				t.Errorf("the name is completed as Kubernetes completes it\n-want, +got:\n%s", diff)
			}
			manifest, err := index.IndexManifest()
			if err != nil || len(manifest.Manifests) != 2 {
				t.Fatalf("want two platforms, got %v, %v", manifest, err)
			}
			for i, binaryPath := range []string{amd64, arm64} {
				descriptor := manifest.Manifests[i]
				image, err := index.Image(descriptor.Digest)
				if err != nil {
					t.Fatal(err)
				}
				checkConfig(t, image, *descriptor.Platform)
				content, err := os.ReadFile(binaryPath)
				if err != nil {
					t.Fatal(err)
				}
				layers, err := image.Layers()
				if err != nil || len(layers) != 1 {
					t.Fatalf("want one layer, got %v, %v", layers, err)
				}
				if mediaType, _ := layers[0].MediaType(); mediaType != tc.mediaType {
					t.Errorf("%s\nwant %s, got %s", tc.reason, tc.mediaType, mediaType)
				}
				compressed, err := layers[0].Compressed()
				if err != nil {
					t.Fatal(err)
				}
				plain, err := tc.open(compressed)
				if err != nil {
					t.Fatalf("%s\ncannot open the layer: %v", tc.reason, err)
				}
				files, err := io.ReadAll(plain)
				if err != nil {
					t.Fatalf("%s\ncannot open the layer: %v", tc.reason, err)
				}
				diffID, err := layers[0].DiffID()
				if got := fmt.Sprintf("%x", sha256.Sum256(files)); err != nil || got != diffID.Hex {
					t.Errorf("the config names other files: %s, %v", diffID, err)
				}
				want := []string{
					"drwxr-xr-x 0:0 etc/ ",
					"-rw-r--r-- 0:0 etc/group " + group,
					"-rw-r--r-- 0:0 etc/passwd " + passwd,
					"-rwxr-xr-x 0:0 sublet-server " + string(content),
				}
				if diff := cmp.Diff(want, formatEntry(t, bytes.NewReader(files))); diff != "" {
					t.Errorf("files of the layer\n-want, +got:\n%s", diff)
				}
			}
		})
	}
}

func checkConfig(t *testing.T, image v1.Image, platform v1.Platform) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if got := config.Platform().String(); got != platform.String() {
		t.Errorf("the index says %s and the image %s", platform.String(), got)
	}
	want := v1.Config{
		User: "65532:65532", Entrypoint: []string{"/sublet-server"}, WorkingDir: "/", Env: []string{"PATH=/"},
		Labels: map[string]string{
			"org.opencontainers.image.title":       "sublet-server",
			"org.opencontainers.image.description": "A virtual Kubernetes cluster in one pod",
			"org.opencontainers.image.source":      "https://github.com/sublet-dev/sublet",
			"org.opencontainers.image.licenses":    "Apache-2.0",
			"org.opencontainers.image.version":     "v1",
			"org.opencontainers.image.revision":    "abc",
		},
	}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("config\n-want, +got:\n%s", diff)
	}
}

// formatEntry returns a line for each file of a tar.
func formatEntry(t *testing.T, r io.Reader) []string {
	t.Helper()
	var lines []string
	reader := tar.NewReader(r)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%s %d:%d %s %s", header.FileInfo().Mode(), header.Uid, header.Gid, header.Name, content))
	}
}

func TestSameInputSameBytes(t *testing.T) {
	t.Parallel()
	server := writeBinary(t, elf.EM_X86_64, strings.Repeat("some text that compresses ", 1000), false)
	build := func(env map[string]string) string {
		_, path := makeImage(t, env, "--binary", "linux/amd64="+server, "--tag", "example.org/sublet:v1")
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%x", sha256.Sum256(content))
	}
	first, second := build(nil), build(nil)
	if first != second {
		t.Errorf("two archives of the same input differ: %s and %s", first, second)
	}
	if later := build(map[string]string{"SOURCE_DATE_EPOCH": "1700000000"}); later == first {
		t.Error("SOURCE_DATE_EPOCH changes nothing")
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	good := "linux/amd64=" + writeBinary(t, elf.EM_X86_64, "", false)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		reason string
		args   []string
		env    string
		want   []string
	}{
		"Nothing":     {reason: "all that is missing is said at once", want: []string{"--binary is missing", "--out is missing", "--tag is missing"}},
		"NoTag":       {reason: "latest is nobody's choice", args: []string{"--binary", good, "--tag", "sublet"}, want: []string{"want NAME:TAG"}},
		"BadName":     {reason: "names of images are lower case", args: []string{"--binary", good, "--tag", "Sublet:v1"}, want: []string{"--tag Sublet:v1"}},
		"Compression": {reason: "there are two", args: []string{"--binary", good, "--tag", "a:b", "--compression", "xz"}, want: []string{"use zstd or gzip"}},
		"Epoch":       {reason: "a time is a number", args: []string{"--binary", good, "--tag", "a:b"}, env: "now", want: []string{"SOURCE_DATE_EPOCH"}},
		"Arguments":   {reason: "a forgotten flag is not dropped", args: []string{"--binary", good, "--tag", "a:b", "more"}, want: []string{"unexpected arguments: more"}},
		"NoPath":      {reason: "a platform alone is no binary", args: []string{"--binary", "linux/amd64"}, want: []string{"want OS/ARCH=PATH"}},
		"NoFile":      {reason: "the file is not there", args: []string{"--binary", "linux/amd64=" + text + "x", "--tag", "a:b", "--out", text + ".tar"}, want: []string{"linux/amd64", "no such file"}},
		"Script":      {reason: "an empty image has no shell", args: []string{"--binary", "linux/amd64=" + text, "--tag", "a:b", "--out", text + ".tar"}, want: []string{"not a Linux binary"}},
		"Platform":    {reason: "other platforms are not built", args: []string{"--binary", "linux/s390x=" + text, "--tag", "a:b", "--out", text + ".tar"}, want: []string{"linux/s390x is not supported"}},
		"Swapped": {
			reason: "the wrong binary would fail on every node",
			args:   []string{"--binary", "linux/arm64=" + writeBinary(t, elf.EM_X86_64, "", false), "--tag", "a:b", "--out", text + ".tar"},
			want:   []string{"EM_X86_64", "linux/arm64"},
		},
		"Dynamic": {
			reason: "an empty image has no dynamic linker",
			args:   []string{"--binary", "linux/amd64=" + writeBinary(t, elf.EM_X86_64, "", true), "--tag", "a:b", "--out", text + ".tar"},
			want:   []string{"CGO_ENABLED=0"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := run(tc.args, io.Discard, func(string) string { return tc.env })
			if err == nil {
				t.Fatalf("%s\nwant an error", tc.reason)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s\nwant an error with %q, got %v", tc.reason, want, err)
				}
			}
		})
	}
}
