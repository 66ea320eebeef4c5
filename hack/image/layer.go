package main

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

// compressionKind is how layers are compressed.
type compressionKind string

const (
	zstdCompression compressionKind = "zstd"
	gzipCompression compressionKind = "gzip"
)

// check refuses a compression that there is not.
func (c compressionKind) check() error {
	if c != zstdCompression && c != gzipCompression {
		return fmt.Errorf("--compression %s: want zstd or gzip", c)
	}
	return nil
}

// mediaType is the type of a layer that is compressed so.
func (c compressionKind) mediaType() types.MediaType {
	if c == gzipCompression {
		return types.OCILayer
	}
	return types.OCILayerZStd
}

// writer compresses into w. Each gives the same bytes for the same input.
func (c compressionKind) writer(w io.Writer) (io.WriteCloser, error) {
	if c == gzipCompression {
		return gzip.NewWriterLevel(w, gzip.BestCompression)
	}
	return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1))
}

// passwd and group name the user, for tools that look into the container.
const (
	passwd = "root:x:0:0:root:/:/sbin/nologin\nsublet:x:65532:65532:sublet:/:/sbin/nologin\n"
	group  = "root:x:0:\nsublet:x:65532:\n"
)

// layer is a v1.Layer that is in memory.
type layer struct {
	uncompressed, compressed []byte
	mediaType                types.MediaType
	digest, diffID           v1.Hash
}

// newLayer makes the image's one layer.
func newLayer(server []byte, created time.Time, compression compressionKind) (*layer, error) {
	files, err := layerTar(server, created)
	if err != nil {
		return nil, err
	}
	var compressed bytes.Buffer
	w, err := compression.writer(&compressed)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(files); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	l := &layer{uncompressed: files, compressed: compressed.Bytes(), mediaType: compression.mediaType()}
	if l.diffID, _, err = v1.SHA256(bytes.NewReader(l.uncompressed)); err != nil {
		return nil, err
	}
	l.digest, _, err = v1.SHA256(bytes.NewReader(l.compressed))
	return l, err
}

// layerTar are the files of the image.
func layerTar(server []byte, created time.Time) ([]byte, error) {
	files := []struct {
		name    string
		mode    int64
		content []byte
	}{
		{name: "etc/", mode: 0o755},
		{name: "etc/group", mode: 0o644, content: []byte(group)},
		{name: "etc/passwd", mode: 0o644, content: []byte(passwd)},
		{name: strings.TrimPrefix(serverPath, "/"), mode: 0o755, content: server},
	}
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for _, file := range files {
		header := &tar.Header{Name: file.name, Mode: file.mode, Size: int64(len(file.content)), ModTime: created, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if strings.HasSuffix(file.name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(file.content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return buffer.Bytes(), err
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
