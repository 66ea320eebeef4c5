package hostlab

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/sublet-dev/sublet/hostlab/oci"
)

func testRecipe() recipe {
	return recipe{
		names: []string{"localhost/sublet/one:1", "docker.io/library/one:latest"}, entrypoint: []string{"/bin/one"}, user: "1:1",
		files: []oci.File{
			{Name: "bin/", Mode: 0o755},
			{Name: "bin/one", Data: []byte("#!one"), Mode: 0o755},
			{Name: "bin/uno", Link: "one"},
		},
	}
}

func newImage(t *testing.T, r recipe) v1.Image {
	t.Helper()
	image, err := r.image()
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func digestOf(t *testing.T, image interface{ Digest() (v1.Hash, error) }) v1.Hash {
	t.Helper()
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

func TestRecipeImage(t *testing.T) {
	t.Parallel()
	image := newImage(t, testRecipe())
	if again := newImage(t, testRecipe()); digestOf(t, again) != digestOf(t, image) {
		t.Error("the same recipe gives another image")
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{Entrypoint: []string{"/bin/one"}, User: "1:1", WorkingDir: "/", Env: []string{"PATH=/bin"}}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("configuration: -want, +got:\n%s", diff)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v; want one", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for reader := tar.NewReader(content); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, header.FileInfo().Mode().String()+" "+header.Name+" "+header.Linkname)
	}
	if diff := cmp.Diff([]string{"drwxr-xr-x bin/ ", "-rwxr-xr-x bin/one ", "Lrwxrwxrwx bin/uno one"}, got); diff != "" {
		t.Errorf("files: -want, +got:\n%s", diff)
	}
}

// TestRecipeDigest changes one part of a recipe after the other. Each gives another image.
func TestRecipeDigest(t *testing.T) {
	t.Parallel()
	seen := map[string]string{testRecipe().digest(): "nothing"}
	for what, change := range map[string]func(*recipe){
		"a name":         func(r *recipe) { r.names = r.names[:1] },
		"the entrypoint": func(r *recipe) { r.entrypoint = []string{"/bin/uno"} },
		"the command":    func(r *recipe) { r.command = []string{"one"} },
		"the user":       func(r *recipe) { r.user = "0" },
		"a file":         func(r *recipe) { r.files[1].Data = []byte("#!two") },
		"a mode":         func(r *recipe) { r.files[1].Mode = 0o700 },
		"a link":         func(r *recipe) { r.files[2].Link = "two" },
		"another file":   func(r *recipe) { r.files = append(r.files, oci.File{Name: "bin/two"}) },
	} {
		r := testRecipe()
		change(&r)
		if other, ok := seen[r.digest()]; ok {
			t.Errorf("the digest is the same with %s changed and with %s changed", what, other)
		}
		seen[r.digest()] = what
	}
	if _, ok := seen[testRecipe().digest()]; !ok {
		t.Error("the digest of the same recipe differs")
	}
}

func TestDigestRecord(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "images.json")
	if got := readDigests(file); len(got) > 0 {
		t.Errorf("without a record: %v", got)
	}
	want := map[string]string{"one": "1", "two": "2"}
	if err := writeDigests(file, want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, readDigests(file)); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
	if err := os.WriteFile(file, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := readDigests(file); len(got) > 0 {
		t.Errorf("of a broken record: %v", got)
	}
}

func TestShell(t *testing.T) {
	t.Parallel()
	entries := shellFiles([]byte("busybox"), []string{"[", "sh", "wget", "busybox"})
	var names []string
	for _, e := range entries {
		if slices.Contains(names, e.Name) {
			t.Errorf("%s is there twice", e.Name)
		}
		names = append(names, e.Name)
		if e.Link == "" && e.Mode == 0 {
			t.Errorf("nobody can read %s", e.Name)
		}
	}
	for _, want := range []string{"bin/sh", "bin/[", "bin/wget", "tmp/", "etc/passwd"} {
		if !slices.Contains(names, want) {
			t.Errorf("no %s in the image", want)
		}
	}
	i := slices.IndexFunc(entries, func(e oci.File) bool { return e.Name == "bin/wget" })
	if len(entries[i].Data) == 0 {
		t.Error("wget is busybox's own, which crashes when it gets a timeout")
	}
}

func TestArchiveAndOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "images.tar")
	if err := writeImages(file, []recipe{testRecipe()}); err != nil {
		t.Fatal(err)
	}
	images, err := openArchive(file, dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, image := range images {
		names = append(names, image.name)
		if got := digestOf(t, image.image.(v1.Image)); got != digestOf(t, newImage(t, testRecipe())) {
			t.Errorf("%s came back as %s", image.name, got)
		}
	}
	if diff := cmp.Diff(testRecipe().names, names); diff != "" {
		t.Errorf("names in the archive: -want, +got:\n%s", diff)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".image-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// newTar packs a folder.
func newTar(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "archive.tar")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(out)
	if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestOpenIndex(t *testing.T) {
	t.Parallel()
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: newImage(t, testRecipe())})
	dir := t.TempDir()
	at, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for _, annotations := range []map[string]string{
		{oci.NameAnnotation: "ghcr.io/sublet-dev/sublet:v1", refKey: "v1"},
		{refKey: "ghcr.io/sublet-dev/other:v1"},
		{}, // an attestation, for example
	} {
		if err := at.AppendIndex(index, layout.WithAnnotations(annotations)); err != nil {
			t.Fatal(err)
		}
	}
	images, err := openArchive(newTar(t, dir), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, image := range images {
		names = append(names, image.name)
		if _, ok := image.image.(v1.ImageIndex); !ok {
			t.Errorf("%s is a %T; all its platforms must stay", image.name, image.image)
		}
	}
	if diff := cmp.Diff([]string{"ghcr.io/sublet-dev/sublet:v1", "ghcr.io/sublet-dev/other:v1"}, names); diff != "" {
		t.Errorf("names: -want, +got:\n%s", diff)
	}
}

func TestOpenDockerSave(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "saved.tar")
	tag, err := name.NewTag("example.org/one:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(file, tag, newImage(t, testRecipe())); err != nil {
		t.Fatal(err)
	}
	images, err := openArchive(file, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if len(images) != 1 || images[0].name != "example.org/one:1" {
		t.Errorf("found %v, want example.org/one:1", images)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	nameless := t.TempDir()
	if _, err := layout.Write(nameless, empty.Index); err != nil {
		t.Fatal(err)
	}
	strange := t.TempDir()
	if err := os.WriteFile(filepath.Join(strange, "letter.txt"), []byte("Dear reader"), 0o644); err != nil {
		t.Fatal(err)
	}
	for reason, tc := range map[string]struct{ file, want string }{
		"An image without a name could never be used.":  {newTar(t, nameless), "has a name"},
		"A file that is no archive of images says so.":  {newTar(t, strange), "neither an OCI layout nor a docker save"},
		"A file that is not there is named.":            {"/nowhere/images.tar", "/nowhere/images.tar"},
		"Files outside the folder are never written to": {newEscapingArchive(t), "escapes"},
	} {
		if _, err := openArchive(tc.file, t.TempDir()); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s\nopen: %v, want %q", reason, err, tc.want)
		}
	}
}

// newEscapingArchive returns an archive with a path that leads outside.
func newEscapingArchive(t *testing.T) string {
	t.Helper()
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	if err := w.WriteHeader(&tar.Header{Name: "../outside", Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "escaping.tar")
	if err := os.WriteFile(file, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestOnRegistry(t *testing.T) {
	t.Parallel()
	for image, want := range map[string]string{
		"busybox":                      registryAddr + "/library/busybox:latest",
		"docker.io/library/busybox:1":  registryAddr + "/library/busybox:1",
		"localhost/sublet/test:1":      registryAddr + "/sublet/test:1",
		"ghcr.io/sublet-dev/sublet:v1": registryAddr + "/sublet-dev/sublet:v1",
	} {
		got, err := registryReference(image)
		if err != nil {
			t.Fatal(err)
		}
		if got.Name() != want {
			t.Errorf("onRegistry(%q) = %q, want %q", image, got.Name(), want)
		}
	}
	if _, err := registryReference("UPPER CASE"); err == nil {
		t.Error("onRegistry takes what is no name")
	}
}

func TestPush(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New())
	t.Cleanup(server.Close)
	image := newImage(t, testRecipe())
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image})
	for path, what := range map[string]remote.Taggable{"one:1": image, "many:1": index} {
		target, err := name.NewTag(strings.TrimPrefix(server.URL, "http://")+"/sublet/"+path, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if err := pushImage(t.Context(), target, what); err != nil {
			t.Fatal(err)
		}
		got, err := remote.Head(target)
		if err != nil {
			t.Fatal(err)
		}
		if want := digestOf(t, what.(interface{ Digest() (v1.Hash, error) })); got.Digest != want {
			t.Errorf("%s is %s on the registry, want %s", path, got.Digest, want)
		}
	}
}
