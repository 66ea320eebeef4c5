package policy

import "testing"

func TestTranslateImage(t *testing.T) {
	t.Parallel()
	if TranslateImage(nil) != nil {
		t.Error("without rules there is a function")
	}
	translate := TranslateImage(map[string]string{
		"docker.io/*":             "mirror.example.com/hub/",
		"docker.io/library/nginx": "mirror.example.com/web",
		"ghcr.io/shop/*":          "registry.example.com:5000/shop/",
		"ghcr.io/shop/a":          "registry.example.com:5000/other:1",
	})
	for image, want := range map[string]string{
		"busybox":               "mirror.example.com/hub/library/busybox",
		"shop/cart:1":           "mirror.example.com/hub/shop/cart:1",
		"nginx":                 "mirror.example.com/web",
		"nginx:1.29":            "mirror.example.com/web:1.29",
		"nginx@sha256:0a":       "mirror.example.com/web@sha256:0a",
		"nginx-unit:1":          "mirror.example.com/hub/library/nginx-unit:1",
		"ghcr.io/shop/cart":     "registry.example.com:5000/shop/cart",
		"ghcr.io/shop/a":        "registry.example.com:5000/other:1",
		"ghcr.io/shopping/a":    "ghcr.io/shopping/a",
		"localhost/nginx":       "localhost/nginx",
		"sha256:0123456789":     "sha256:0123456789",
		"":                      "",
		"quay.io/nginx/nginx":   "quay.io/nginx/nginx",
		"docker.io/library/a":   "mirror.example.com/hub/library/a",
		"index.docker.io/b/c:1": "mirror.example.com/hub/b/c:1",
	} {
		if got := translate(image); got != want {
			t.Errorf("%q becomes %q, want %q", image, got, want)
		}
	}
}
