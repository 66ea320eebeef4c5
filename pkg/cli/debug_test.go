package cli_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/release"
)

// hidden is a text that no bundle may have.
const hidden = "hunter2-hunter2"

// newSecretiveHost returns a host whose objects and logs have secrets.
func newSecretiveHost(t *testing.T) *fakeHost {
	t.Helper()
	return newFakeHost(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/secrets"):
			answerSecrets(t, w, r)
		case strings.HasSuffix(r.URL.Path, "/log"):
			_, _ = io.WriteString(w, "starting with password="+hidden+"\n")
		case strings.HasSuffix(r.URL.Path, "/configmaps") && !strings.Contains(r.URL.RawQuery, "anchor"):
			write(w, http.StatusOK, &corev1.ConfigMapList{Items: []corev1.ConfigMap{{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"a": hidden}}}})
		default:
			return false
		}
		return true
	}, release.Release{Name: "shop", Namespace: "tenant-shop"})
}

// answerSecrets answers requests for metadata, as Helm and the bundle send them. Only Helm may ask for more.
func answerSecrets(t *testing.T, w http.ResponseWriter, r *http.Request) {
	t.Helper()
	if strings.Contains(r.URL.RawQuery, "owner") {
		write(w, http.StatusOK, &corev1.SecretList{})
		return
	}
	if !strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadataList") {
		t.Errorf("the values of Secrets are asked for: %s", r.URL)
	}
	write(w, http.StatusOK, &metav1.PartialObjectMetadataList{
		TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadataList"},
		Items:    []metav1.PartialObjectMetadata{{ObjectMeta: metav1.ObjectMeta{Name: "shop-certs", Annotations: map[string]string{"note": hidden}}}},
	})
}

// TestDebugCollect writes a bundle, and looks for secrets in it.
func TestDebugCollect(t *testing.T) {
	t.Parallel()
	file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": newSecretiveHost(t)})
	bundle := filepath.Join(t.TempDir(), "bundle.tar.gz")
	out, errOut, code := runSublet(t, file, "debug", "collect", "shop", "--dry-run", "--file", bundle)
	if code != 0 || !strings.Contains(out, "release/secrets.json") || !strings.Contains(out, "only metadata") {
		t.Errorf("dry run: exit code %d\n%s%s", code, out, errOut)
	}
	if _, err := os.Stat(bundle); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the dry run wrote a file: %v", err)
	}
	if _, errOut, code := runSublet(t, file, "debug", "collect", "shop", "--file", bundle); code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	if info, err := os.Stat(bundle); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the bundle has %v, %v", info, err)
	}
	files := readBundle(t, bundle)
	for name, want := range map[string]string{
		"release/secrets.json": "shop-certs", "release/configmaps.json": "settings", "logs/shop-0.log": "starting with REDACTED",
		"release/statefulsets.json": "shop", "tenant/pods.json": "node", "contents.txt": "cannot collect release/values.json",
	} {
		if !strings.Contains(files["sublet-debug/"+name], want) {
			t.Errorf("%s lacks %q: %s", name, want, files["sublet-debug/"+name])
		}
	}
	for name, content := range files {
		if strings.Contains(content, hidden) {
			t.Errorf("%s has a secret:\n%s", name, content)
		}
	}
	if _, errOut, code := runSublet(t, file, "debug", "collect", "shop", "--file", bundle); code == 0 || !strings.Contains(errOut, "exists") {
		t.Errorf("a bundle that exists: exit code %d: %s", code, errOut)
	}
}

// readBundle returns the files of a bundle: name -> content.
func readBundle(t *testing.T, bundle string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(bundle)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = string(content)
	}
}
