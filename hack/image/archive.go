package main

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/distribution/reference"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// writeArchive writes index as an OCI layout in a tar file, under the name of
// tag. The file appears when it is whole.
func writeArchive(index v1.ImageIndex, tag reference.NamedTagged, modified time.Time, path string) (err error) {
	directory, err := os.MkdirTemp(filepath.Dir(path), ".image-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(directory)) }()

	layoutPath := filepath.Join(directory, "layout")
	if _, err := layout.Write(layoutPath, named(index, tag)); err != nil {
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

// named is the index of a layout that holds one image index under a name.
// containerd takes the whole name from the first annotation, other tools the
// tag from the second.
func named(index v1.ImageIndex, tag reference.NamedTagged) v1.ImageIndex {
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add: index,
		Descriptor: v1.Descriptor{Annotations: map[string]string{
			"io.containerd.image.name":          tag.String(),
			"org.opencontainers.image.ref.name": tag.Tag(),
		}},
	})
}

// tarDirectory writes the files below directory to w, in the order of their
// names and as of one time.
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
