package host

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// nameKey is the annotation by which containerd names an image of an archive.
const nameKey = "io.containerd.image.name"

// An entry is one file, folder (name ends in /) or symbolic link of an image.
type entry struct {
	name string
	link string
	data []byte
	mode int64
}

// A recipe is an image that every local host has.
type recipe struct {
	names      []string
	entrypoint []string
	command    []string
	user       string
	entries    []entry
}

// recipes returns the images, made of programs in bin and of Debian's static
// busybox.
func recipes(bin string) ([]recipe, error) {
	pause, err := os.ReadFile(filepath.Join(bin, "pause"))
	if err != nil {
		return nil, err
	}
	server, err := os.ReadFile(filepath.Join(bin, "testserver"))
	if err != nil {
		return nil, err
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return nil, err
	}
	applets, err := output(exec.Command("/bin/busybox", "--list"))
	if err != nil {
		return nil, err
	}
	tools := shell(busybox, strings.Fields(applets))
	return []recipe{
		{
			names: []string{pauseImage}, entrypoint: []string{"/pause"}, user: "65535:65535",
			entries: []entry{{name: "pause", data: pause, mode: 0o755}},
		},
		{
			names: []string{BusyboxImage, "docker.io/library/busybox:latest"}, command: []string{"sh"},
			entries: tools,
		},
		{
			names: []string{TestImage}, entrypoint: []string{"/bin/testserver"},
			entries: append(slices.Clip(tools), entry{name: "bin/testserver", data: server, mode: 0o755}),
		},
	}, nil
}

// wget hides a defect of Debian's busybox 1.35, whose wget crashes when it is
// given a timeout: timeout(1) keeps the time instead.
const wget = `#!/bin/sh
limit=; n=$#
while [ "$n" -gt 0 ]; do
  arg=$1; shift; n=$((n-1))
  case $arg in
  -T) limit=$1; shift; n=$((n-1)) ;;
  -T*) limit=${arg#-T} ;;
  --timeout=*) limit=${arg#*=} ;;
  *) set -- "$@" "$arg" ;;
  esac
done
exec ${limit:+busybox timeout "$limit"} busybox wget "$@"
`

// shell is a small file system around busybox.
func shell(busybox []byte, applets []string) []entry {
	entries := []entry{
		{name: "bin/", mode: 0o755}, {name: "etc/", mode: 0o755}, {name: "home/", mode: 0o755}, {name: "root/", mode: 0o700},
		{name: "tmp/", mode: 0o1777}, {name: "usr/", mode: 0o755}, {name: "var/", mode: 0o755}, {name: "var/tmp/", mode: 0o1777},
		{name: "bin/busybox", data: busybox, mode: 0o755},
		{name: "bin/wget", data: []byte(wget), mode: 0o755},
		{name: "usr/bin", link: "../bin"}, {name: "usr/sbin", link: "../bin"}, {name: "sbin", link: "bin"},
		{name: "etc/passwd", mode: 0o644, data: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n")},
		{name: "etc/group", mode: 0o644, data: []byte("root:x:0:\nnobody:x:65534:\n")},
		{name: "etc/nsswitch.conf", mode: 0o644, data: []byte("hosts: files dns\n")},
	}
	for _, applet := range applets {
		if name := "bin/" + path.Base(applet); !slices.ContainsFunc(entries, func(e entry) bool { return e.name == name }) {
			entries = append(entries, entry{name: name, link: "busybox"})
		}
	}
	return entries
}

// image builds one layer and the configuration around it. Equal recipes give
// equal images.
func (r recipe) image() (v1.Image, error) {
	data, err := pack(r.entries)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}, tarball.WithCompressionLevel(1), tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config = v1.Config{
		Entrypoint: r.entrypoint, Cmd: r.command, User: r.user, WorkingDir: "/",
		Env: []string{"PATH=/bin"},
	}
	return mutate.ConfigFile(image, file)
}

func pack(entries []entry) ([]byte, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, e := range entries {
		header := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.data)), Typeflag: tar.TypeReg}
		switch {
		case e.link != "":
			header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, e.link, 0o777
		case strings.HasSuffix(e.name, "/"):
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("cannot pack %s: %w", e.name, err)
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, fmt.Errorf("cannot pack %s: %w", e.name, err)
		}
	}
	err := w.Close()
	return packed.Bytes(), err
}

// archive writes the images of all recipes as one OCI layout in a tar file.
func archive(file string, all []recipe) error {
	dir, err := os.MkdirTemp(filepath.Dir(file), ".layout-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	at, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	for _, r := range all {
		image, err := r.image()
		if err != nil {
			return fmt.Errorf("cannot make image %s: %w", r.names[0], err)
		}
		for _, name := range r.names {
			annotations := map[string]string{nameKey: name}
			platform := v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
			if err := at.AppendImage(image, layout.WithAnnotations(annotations), layout.WithPlatform(platform)); err != nil {
				return fmt.Errorf("cannot write image %s: %w", name, err)
			}
		}
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		_ = out.Close()
		return fmt.Errorf("cannot write %s: %w", file, err)
	}
	if err := w.Close(); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}
