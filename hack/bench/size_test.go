package main

import (
	"archive/tar"
	"os"
	"path/filepath"
	"testing"
)

func writeArchive(t *testing.T, files map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewWriter(file)
	for name, content := range files {
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestImageSize(t *testing.T) {
	t.Parallel()
	const (
		manifest = `{"config":{"digest":"sha256:c","size":1000},"layers":[{"size":20000},{"size":3000}]}`
		toImage  = `{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:m"}]}`
		toIndex  = `{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:i"}]}`
	)
	for _, c := range []struct {
		reason string
		files  map[string]string
		want   int64
		fails  bool
	}{
		{
			reason: "config and layers count",
			files:  map[string]string{"index.json": toImage, "blobs/sha256/m": manifest},
			want:   24000,
		},
		{
			reason: "an index within the index",
			files:  map[string]string{"index.json": toIndex, "blobs/sha256/i": toImage, "blobs/sha256/m": manifest},
			want:   24000,
		},
		{
			reason: "two platforms are not one image",
			files:  map[string]string{"index.json": `{"manifests":[{"digest":"sha256:m"},{"digest":"sha256:n"}]}`},
			fails:  true,
		},
		{
			reason: "a blob is missing",
			files:  map[string]string{"index.json": toImage},
			fails:  true,
		},
	} {
		got, err := imageSize(writeArchive(t, c.files))
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: imageSize = %d, %v, want %d", c.reason, got, err, c.want)
		}
	}
}
