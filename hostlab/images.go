package hostlab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sublet-dev/sublet/hostlab/oci"
)

// recipe describes an image that every local host has.
type recipe struct {
	names      []string
	entrypoint []string
	command    []string
	user       string
	files      []oci.File
}

// ownRecipes returns the images, made of programs in bin and of Debian's static
// busybox.
func ownRecipes(ctx context.Context, bin string) ([]recipe, error) {
	programs := map[string]oci.File{}
	for _, name := range []string{"etcd", "pause", "testoperator", "testserver"} {
		data, err := os.ReadFile(filepath.Join(bin, name))
		if err != nil {
			return nil, err
		}
		programs[name] = oci.File{Name: "bin/" + name, Data: data, Mode: 0o755}
	}
	tools, err := ShellFiles(ctx)
	if err != nil {
		return nil, err
	}
	return []recipe{
		{
			names: []string{pauseImage}, entrypoint: []string{"/pause"}, user: "65535:65535",
			files: []oci.File{{Name: "pause", Data: programs["pause"].Data, Mode: 0o755}},
		},
		{
			names: []string{BusyboxImage, "docker.io/library/busybox:latest"}, command: []string{"sh"},
			files: tools,
		},
		{
			names: []string{TestImage}, entrypoint: []string{"/bin/testserver"},
			files: append(slices.Clip(tools), programs["testserver"], programs["testoperator"], programs["etcd"]),
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

// ShellFiles returns the file system of an image with a shell and the usual small tools,
// from Debian's static busybox.
func ShellFiles(ctx context.Context) ([]oci.File, error) {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return nil, err
	}
	applets, err := runForOutput(exec.CommandContext(ctx, "/bin/busybox", "--list"))
	if err != nil {
		return nil, err
	}
	return shellFiles(busybox, strings.Fields(applets)), nil
}

// shellFiles returns a small file system around busybox.
func shellFiles(busybox []byte, applets []string) []oci.File {
	files := []oci.File{
		{Name: "bin/", Mode: 0o755}, {Name: "etc/", Mode: 0o755}, {Name: "home/", Mode: 0o755}, {Name: "root/", Mode: 0o700},
		{Name: "tmp/", Mode: 0o1777}, {Name: "usr/", Mode: 0o755}, {Name: "var/", Mode: 0o755}, {Name: "var/tmp/", Mode: 0o1777},
		{Name: "bin/busybox", Data: busybox, Mode: 0o755},
		{Name: "bin/wget", Data: []byte(wget), Mode: 0o755},
		{Name: "usr/bin", Link: "../bin"}, {Name: "usr/sbin", Link: "../bin"}, {Name: "sbin", Link: "bin"},
		{Name: "etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n")},
		{Name: "etc/group", Mode: 0o644, Data: []byte("root:x:0:\nnobody:x:65534:\n")},
		{Name: "etc/nsswitch.conf", Mode: 0o644, Data: []byte("hosts: files dns\n")},
	}
	for _, applet := range applets {
		if name := "bin/" + path.Base(applet); !slices.ContainsFunc(files, func(f oci.File) bool { return f.Name == name }) {
			files = append(files, oci.File{Name: name, Link: "busybox"})
		}
	}
	return files
}

// image returns the image of the recipe. Equal recipes give equal images.
func (r recipe) image() (v1.Image, error) {
	return oci.Image{
		Platform:    platform(),
		Config:      v1.Config{Entrypoint: r.entrypoint, Cmd: r.command, User: r.user, Env: []string{"PATH=/bin"}},
		Files:       r.files,
		Compression: oci.Gzip,
	}.Build()
}

// digest returns a hash over all that the image is made of. It is quicker than the digest of
// the image, for which the files have to be compressed.
func (r recipe) digest() string {
	hash := sha256.New()
	_, _ = fmt.Fprintf(hash, "%q %q %q %q\n", r.names, r.entrypoint, r.command, r.user)
	for _, file := range r.files {
		_, _ = fmt.Fprintf(hash, "%q %q %o %d\n", file.Name, file.Link, file.Mode, len(file.Data))
		_, _ = hash.Write(file.Data)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// readDigests reads image name -> digest from a record, which is empty if there is none.
func readDigests(file string) map[string]string {
	digests := map[string]string{}
	data, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(data, &digests) != nil {
		return map[string]string{}
	}
	return digests
}

// writeDigests writes the record that readDigests reads.
func writeDigests(file string, digests map[string]string) error {
	data, err := json.Marshal(digests)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

// platform returns the platform of the nodes.
func platform() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// writeImages writes the images of all recipes to one archive.
func writeImages(file string, all []recipe) error {
	var images []oci.Named
	for _, r := range all {
		image, err := r.image()
		if err != nil {
			return fmt.Errorf("cannot build image %s: %w", r.names[0], err)
		}
		for _, name := range r.names {
			images = append(images, oci.Named{Name: name, Image: image, Platform: new(platform())})
		}
	}
	if err := oci.WriteArchive(file, time.Unix(0, 0).UTC(), images...); err != nil {
		return fmt.Errorf("cannot write images to %s: %w", file, err)
	}
	return nil
}
