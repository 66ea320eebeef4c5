package conformance

import (
	"context"
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
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/sublet-dev/sublet/hostlab"
	"github.com/sublet-dev/sublet/hostlab/oci"
)

// recipe describes an image that the suite runs.
type recipe struct {
	config v1.Config
	files  []oci.File
}

// BuildImages writes an archive with the images that the suite runs and returns its path.
func (s *Suite) BuildImages(ctx context.Context) (string, error) {
	archive := s.path("images.tar")
	names, err := s.imageNames(ctx)
	if err != nil {
		return "", err
	}
	binary, err := os.Stat(s.path("bin", ".stamp"))
	if err != nil {
		return "", err
	}
	if before, err := os.Stat(archive); err == nil && before.ModTime().After(binary.ModTime()) {
		return archive, nil
	}
	if err := hostlab.InstallPackages(ctx, debianPackages()...); err != nil {
		return "", err
	}
	recipes, err := s.recipes(ctx)
	if err != nil {
		return "", err
	}
	images, err := nameImages(names, recipes)
	if err != nil {
		return "", err
	}
	return archive, oci.WriteArchive(archive, time.Unix(0, 0).UTC(), images...)
}

// nameImages builds the image of each name that has a recipe.
func nameImages(names []string, recipes map[string]recipe) ([]oci.Named, error) {
	built := map[string]v1.Image{} // base name -> image
	var images []oci.Named
	for _, name := range names {
		base := baseName(name)
		r, ok := recipes[base]
		if !ok {
			continue
		}
		if built[base] == nil {
			image, err := r.image()
			if err != nil {
				return nil, fmt.Errorf("cannot build image %s: %w", name, err)
			}
			built[base] = image
		}
		image, err := withName(built[base], name)
		if err != nil {
			return nil, fmt.Errorf("cannot name image %s: %w", name, err)
		}
		images = append(images, oci.Named{Name: name, Image: image, Platform: new(platform())})
	}
	return images, nil
}

// imageNames returns the names of the images that the suite may run.
func (s *Suite) imageNames(ctx context.Context) ([]string, error) {
	list, err := output(exec.CommandContext(ctx, s.path("bin", "e2e.test"), "--list-images"))
	if err != nil {
		return nil, fmt.Errorf("cannot list the images of the suite: %w", err)
	}
	var names []string
	for line := range strings.Lines(list) {
		// Some are named on purpose so that no registry has them.
		if name := strings.TrimSpace(line); strings.HasPrefix(name, "registry.k8s.io/") {
			names = append(names, name)
		}
	}
	return names, nil
}

// baseName returns the last part of an image's name, without its tag.
func baseName(image string) string {
	name, _, _ := strings.Cut(path.Base(image), ":")
	return name
}

// withName labels an image with its name. So each name has an image of its own, as in a
// registry. A kubelet shows only one name of each image.
func withName(image v1.Image, name string) (v1.Image, error) {
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config := file.Config
	config.Labels = map[string]string{"org.opencontainers.image.ref.name": name}
	return mutate.Config(image, config)
}

// image returns the image without a name.
func (r recipe) image() (v1.Image, error) {
	config := r.config
	config.Env = []string{"PATH=/usr/local/bin:/bin"}
	return oci.Image{Platform: platform(), Config: config, Files: r.files}.Build()
}

func platform() v1.Platform { return v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }

// recipes returns base name of an image -> how to make it.
func (s *Suite) recipes(ctx context.Context) (map[string]recipe, error) {
	shell, err := hostlab.ShellFiles(ctx)
	if err != nil {
		return nil, err
	}
	shell = slices.DeleteFunc(shell, func(f oci.File) bool { return f.Name == "etc/passwd" || f.Name == "etc/group" })
	shell = append(shell, accounts()...)
	debian, err := debianFiles(ctx)
	if err != nil {
		return nil, err
	}
	programs := map[string]oci.File{}
	for _, name := range []string{"agnhost", "nnp", "consumer", "consume-cpu", "pause", "sample-apiserver", "etcd"} {
		data, err := os.ReadFile(s.path("bin", name))
		if err != nil {
			return nil, err
		}
		programs[name] = oci.File{Name: name, Data: data, Mode: 0o755}
	}
	source, err := output(exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"))
	if err != nil {
		return nil, err
	}
	pages := filepath.Join(strings.TrimSpace(source), "test", "images")
	return assemble(shell, debian, programs, pages)
}

// assemble returns the recipes of all images, from the files of a small system and of
// Debian. sh is bash: the shell of busybox runs its own programs of the same names. Its env
// leaves out variables with a dash in their name.
func assemble(small, debian []oci.File, programs map[string]oci.File, pages string) (map[string]recipe, error) {
	system := slices.DeleteFunc(slices.Clone(small), func(f oci.File) bool { return f.Name == "bin/sh" })
	system = slices.Concat(system, debian, []oci.File{{Name: "bin/sh", Link: "../usr/local/bin/bash"}})
	withFiles := func(files ...oci.File) []oci.File { return slices.Concat(system, files) }
	moved := func(name, to string, mode int64) oci.File {
		file := programs[name]
		file.Name, file.Mode = to, mode
		return file
	}
	agnhost := withFiles(programs["agnhost"], oci.File{Name: "agnhost-2", Link: "agnhost"}, oci.File{Name: "uploads/", Mode: 0o755},
		oci.File{Name: "etc/os-release", Mode: 0o644, Data: []byte("NAME=\"Stand-in for Alpine Linux\"\n")})
	certificate, err := readFiles(filepath.Join(pages, "agnhost", "porter"), "localhost.crt", "localhost.key")
	if err != nil {
		return nil, err
	}
	agnhost = append(agnhost, certificate...)
	serve := recipe{config: v1.Config{Cmd: []string{"httpd", "-f", "-p", "80", "-h", "/html"}}, files: withFiles(
		oci.File{Name: "html/", Mode: 0o755}, oci.File{Name: "html/index.html", Data: []byte("<h1>Welcome to nginx!</h1>\n"), Mode: 0o644})}
	all := map[string]recipe{
		"agnhost":           {config: v1.Config{Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}}, files: agnhost},
		"busybox":           {config: v1.Config{Cmd: []string{"sh"}}, files: system},
		"etcd":              {config: v1.Config{Cmd: []string{"etcd"}}, files: withFiles(moved("etcd", "usr/local/bin/etcd", 0o755))},
		"glibc-dns-testing": {config: v1.Config{Cmd: []string{"bash"}}, files: system},
		"nginx":             serve,
		"nonewprivs":        {config: v1.Config{Cmd: []string{"nnp"}}, files: withFiles(moved("nnp", "usr/local/bin/nnp", 0o6755))},
		"nonroot":           {config: v1.Config{Cmd: []string{"sh"}, User: "1234"}, files: system},
		"pause":             {config: v1.Config{Entrypoint: []string{"/pause"}, User: "65535:65535"}, files: []oci.File{programs["pause"]}},
		"resource-consumer": {config: v1.Config{Entrypoint: []string{"/consumer"}}, files: withFiles(programs["consumer"], programs["consume-cpu"])},
		"sample-apiserver":  {config: v1.Config{Entrypoint: []string{"/sample-apiserver"}}, files: []oci.File{programs["sample-apiserver"]}},
	}
	for _, name := range []string{"kitten", "nautilus"} {
		files, err := readFiles(filepath.Join(pages, name, "html"), name+".jpg", "data.json")
		if err != nil {
			return nil, err
		}
		all[name] = recipe{config: v1.Config{Entrypoint: []string{"/agnhost"}, Cmd: []string{"test-webserver"}}, files: slices.Concat(agnhost, files)}
	}
	return all, nil
}

// readFiles returns files of a folder for the top folder of an image.
func readFiles(folder string, names ...string) ([]oci.File, error) {
	var files []oci.File
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return nil, err
		}
		files = append(files, oci.File{Name: name, Data: data, Mode: 0o644})
	}
	return files, nil
}

// accounts returns the users and groups that specs expect in the suite's images.
func accounts() []oci.File {
	return []oci.File{
		{Name: "etc/passwd", Mode: 0o644, Data: []byte("root:x:0:0:root:/root:/bin/sh\n" +
			"nobody:x:65534:65534:nobody:/home:/bin/false\n" +
			"user-defined-in-image:x:1000:1000::/home:/bin/sh\n")},
		{Name: "etc/group", Mode: 0o644, Data: []byte("root:x:0:\nnobody:x:65534:\n" +
			"user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n")},
	}
}
