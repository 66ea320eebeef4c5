package hostlab

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/sublet-dev/sublet/hostlab/oci"
)

// refKey is the annotation by which the OCI names an image of an archive.
const refKey = "org.opencontainers.image.ref.name"

// A named image is one that an archive holds under a full name: an image, or an
// index of images for several platforms.
type named struct {
	name  string
	image remote.Taggable
}

// loadImage gives an archive to containerd, and to the registry for pods that
// always pull.
func (l *local) loadImage(ctx context.Context, archive string) error {
	if err := l.daemons.checkRunning("containerd"); err != nil {
		return fmt.Errorf("the host is not up: %w", err)
	}
	if _, err := os.Stat(archive); err != nil {
		return err
	}
	archive, err := filepath.Abs(archive)
	if err != nil {
		return err
	}
	if _, err := runForOutput(l.ctr(ctx, "images", "import", "--local", archive)); err != nil {
		return fmt.Errorf("cannot import %s: %w", archive, err)
	}
	return l.pushImages(ctx, archive)
}

func (l *local) pushImages(ctx context.Context, archive string) error {
	dir, err := os.MkdirTemp(l.path("run"), "load-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	images, err := openArchive(archive, dir)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", archive, err)
	}
	for _, image := range images {
		target, err := registryReference(image.name)
		if err != nil {
			return err
		}
		if err := pushImage(ctx, target, image.image); err != nil {
			return fmt.Errorf("cannot push %s: %w", image.name, err)
		}
	}
	return nil
}

func pushImage(ctx context.Context, target name.Reference, image remote.Taggable) error {
	// No proxy of the environment: the registry is on this machine.
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	options := []remote.Option{remote.WithContext(ctx), remote.WithTransport(transport)}
	switch image := image.(type) {
	case v1.ImageIndex:
		return remote.WriteIndex(target, image, options...)
	case v1.Image:
		return remote.Write(target, image, options...)
	}
	return fmt.Errorf("cannot push a %T", image)
}

// registryReference returns where the host's registry keeps an image: by its path, whatever
// registry its name names.
func registryReference(image string) (name.Reference, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return nil, fmt.Errorf("cannot read the image name %q: %w", image, err)
	}
	return name.NewTag(registryAddr+"/"+ref.Context().RepositoryStr()+":"+ref.Identifier(), name.Insecure)
}

// openArchive finds the named images of an archive, which is unpacked to dir.
func openArchive(archive, dir string) ([]named, error) {
	if err := unpack(archive, dir); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, "index.json")); err != nil {
		return openDocker(archive)
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var found []named
	for _, descriptor := range manifest.Manifests {
		full := descriptor.Annotations[oci.NameAnnotation]
		if full == "" {
			full = descriptor.Annotations[refKey]
		}
		if full == "" {
			continue
		}
		var image remote.Taggable
		if descriptor.MediaType.IsIndex() {
			image, err = index.ImageIndex(descriptor.Digest)
		} else {
			image, err = index.Image(descriptor.Digest)
		}
		if err != nil {
			return nil, err
		}
		found = append(found, named{full, image})
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no image in it has a name: annotate its manifests with %s", oci.NameAnnotation)
	}
	return found, nil
}

// openDocker finds the images of a `docker save`.
func openDocker(archive string) ([]named, error) {
	opener := func() (io.ReadCloser, error) { return os.Open(archive) }
	manifest, err := tarball.LoadManifest(opener)
	if err != nil {
		return nil, fmt.Errorf("it is neither an OCI layout nor a docker save: %w", err)
	}
	var found []named
	for _, descriptor := range manifest {
		for _, full := range descriptor.RepoTags {
			tag, err := name.NewTag(full)
			if err != nil {
				return nil, err
			}
			image, err := tarball.Image(opener, &tag)
			if err != nil {
				return nil, err
			}
			found = append(found, named{full, image})
		}
	}
	return found, nil
}

// unpack extracts the plain files of a tar file.
func unpack(archive, dir string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	reader := tar.NewReader(file)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if err := extract(root, filepath.Clean(header.Name), reader); err != nil {
			return err
		}
	}
}

func extract(root *os.Root, path string, content io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	out, err := root.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, content)
	return errors.Join(err, out.Close())
}
