package oci

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Named is an image, or an index of images, with its name in an archive.
type Named struct {
	// Name is the whole name: registry, path and tag.
	Name string
	// Image is a v1.Image or a v1.ImageIndex.
	Image mutate.Appendable
	// Platform of an image. Default: none, as for an index.
	Platform *v1.Platform
}

// NameAnnotation is the annotation by which containerd names an image of an archive.
const NameAnnotation = "io.containerd.image.name"

// WriteArchive writes the images as an OCI layout in a tar file. Its files have the
// time modified. The file at path is replaced only when the archive is complete.
func WriteArchive(path string, modified time.Time, images ...Named) (err error) {
	directory, err := os.MkdirTemp(filepath.Dir(path), ".image-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(directory)) }()

	layoutPath := filepath.Join(directory, "layout")
	if _, err := layout.Write(layoutPath, newIndex(images)); err != nil {
		return err
	}
	archive := filepath.Join(directory, "archive")
	file, err := os.Create(archive)
	if err != nil {
		return err
	}
	if err := errors.Join(tarDirectory(file, layoutPath, modified), file.Close()); err != nil {
		return err
	}
	return os.Rename(archive, path)
}

// newIndex returns the index of a layout with these images. containerd reads the whole
// name from the first annotation, other tools read the tag from the second.
func newIndex(images []Named) v1.ImageIndex {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range images {
		_, tag, _ := strings.Cut(image.Name[strings.LastIndex(image.Name, "/")+1:], ":")
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image.Image,
			Descriptor: v1.Descriptor{
				Platform: image.Platform,
				Annotations: map[string]string{
					NameAnnotation:                      image.Name,
					"org.opencontainers.image.ref.name": tag,
				},
			},
		})
	}
	return index
}

// tarDirectory writes the files below directory to w, in the order of their names.
func tarDirectory(w io.Writer, directory string, modified time.Time) error {
	archive := tar.NewWriter(w)
	err := filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == directory {
			return err
		}
		name, err := filepath.Rel(directory, path)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: filepath.ToSlash(name), Mode: 0o644, ModTime: modified, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if entry.IsDir() {
			header.Name, header.Mode, header.Typeflag = header.Name+"/", 0o755, tar.TypeDir
			return archive.WriteHeader(header)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		header.Size = int64(len(content))
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		_, err = archive.Write(content)
		return err
	})
	return errors.Join(err, archive.Close())
}
