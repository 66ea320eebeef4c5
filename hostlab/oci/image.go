package oci

import (
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image describes an image of one layer.
type Image struct {
	Platform v1.Platform
	// Config has the entry point, the user and the labels. Default of WorkingDir: /.
	Config v1.Config
	Files  []File
	// Created is the time of the image and of its files. Default: 1970.
	Created time.Time
	// CreatedBy is the command in the image's history. Default: no history.
	CreatedBy string
	// Compression of the layer. Default: zstd.
	Compression Compression
}

// Build returns the image.
func (i Image) Build() (v1.Image, error) {
	if i.Created.IsZero() {
		i.Created = time.Unix(0, 0).UTC()
	}
	layer, err := newLayer(i.Files, i.Created, i.Compression)
	if err != nil {
		return nil, fmt.Errorf("cannot pack layer: %w", err)
	}
	addendum := mutate.Addendum{Layer: layer}
	if i.CreatedBy != "" {
		addendum.History = v1.History{Created: v1.Time{Time: i.Created}, CreatedBy: i.CreatedBy}
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.Append(base, addendum)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Variant = i.Platform.OS, i.Platform.Architecture, i.Platform.Variant
	file.Created = v1.Time{Time: i.Created}
	file.Config = i.Config
	if file.Config.WorkingDir == "" {
		file.Config.WorkingDir = "/"
	}
	return mutate.ConfigFile(image, file)
}
