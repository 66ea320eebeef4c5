package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// Compression is how a layer is compressed. The zero value is zstd.
type Compression string

// The compressions of a layer. Tools that are older than 2021 read only gzip.
const (
	Zstd Compression = "zstd"
	Gzip Compression = "gzip"
)

// File is a file, a folder or a symbolic link of an image.
type File struct {
	// Name is the path in the image, without / at its start. A folder has a / at its end.
	Name string
	// Link is the target of a symbolic link. Default: the file is none.
	Link string
	Data []byte
	// Mode has the permissions. That of a link is always 0777.
	Mode int64
}

// Validate returns an error for an unknown compression.
func (c Compression) Validate() error {
	if c != "" && c != Zstd && c != Gzip {
		return fmt.Errorf("unknown compression %q: use zstd or gzip", c)
	}
	return nil
}

// mediaType returns the type of a layer with this compression.
func (c Compression) mediaType() types.MediaType {
	if c == Gzip {
		return types.OCILayer
	}
	return types.OCILayerZStd
}

// newWriter returns a writer that compresses into w. It writes the same bytes for the
// same input.
func (c Compression) newWriter(w io.Writer) (io.WriteCloser, error) {
	if c == Gzip {
		return gzip.NewWriterLevel(w, gzip.BestCompression)
	}
	return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1))
}

// layer is a v1.Layer in memory. That of go-containerregistry compresses with more
// than one goroutine for zstd, and its bytes differ from run to run.
type layer struct {
	uncompressed, compressed []byte
	mediaType                types.MediaType
	digest, diffID           v1.Hash
}

// newLayer packs and compresses the files.
func newLayer(files []File, created time.Time, compression Compression) (*layer, error) {
	packed, err := pack(files, created)
	if err != nil {
		return nil, err
	}
	var compressed bytes.Buffer
	w, err := compression.newWriter(&compressed)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(packed); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	l := &layer{uncompressed: packed, compressed: compressed.Bytes(), mediaType: compression.mediaType()}
	if l.diffID, _, err = v1.SHA256(bytes.NewReader(l.uncompressed)); err != nil {
		return nil, err
	}
	l.digest, _, err = v1.SHA256(bytes.NewReader(l.compressed))
	return l, err
}

// pack returns a tar file of the files, in their order.
func pack(files []File, created time.Time) ([]byte, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, f := range files {
		header := &tar.Header{Name: f.Name, Mode: f.Mode, Size: int64(len(f.Data)), ModTime: created, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		switch {
		case f.Link != "":
			header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, f.Link, 0o777
		case strings.HasSuffix(f.Name, "/"):
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("cannot pack %s: %w", f.Name, err)
		}
		if _, err := w.Write(f.Data); err != nil {
			return nil, fmt.Errorf("cannot pack %s: %w", f.Name, err)
		}
	}
	err := w.Close()
	return packed.Bytes(), err
}

// Digest implements v1.Layer.
func (l *layer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID implements v1.Layer.
func (l *layer) DiffID() (v1.Hash, error) { return l.diffID, nil }

// Compressed implements v1.Layer.
func (l *layer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.compressed)), nil
}

// Uncompressed implements v1.Layer.
func (l *layer) Uncompressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.uncompressed)), nil
}

// Size implements v1.Layer.
func (l *layer) Size() (int64, error) { return int64(len(l.compressed)), nil }

// MediaType implements v1.Layer.
func (l *layer) MediaType() (types.MediaType, error) { return l.mediaType, nil }
