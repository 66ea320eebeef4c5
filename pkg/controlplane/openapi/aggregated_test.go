package openapi

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// aggregatedPaths are the paths of aggregated API servers, each of which answers with its path.
type aggregatedPaths []string

func (a aggregatedPaths) Paths() ([]string, error) { return a, nil }

func (a aggregatedPaths) Find(path string) (http.Handler, error) {
	if !slices.Contains(a, path) {
		return nil, nil //nolint:nilnil // none is no error
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.WriteString(w, req.URL.Path+" of another server")
	}), nil
}

// TestAggregated lists aggregated API servers of one more group, and of a built-in one. The
// latter stays what it is.
func TestAggregated(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const metrics = "apis/metrics.example.com/v1"
		w := newWorld(t)
		defer w.end()
		w.aggregated = aggregatedPaths{metrics, builtin}
		addresses := w.list(t)
		if got, want := addresses[metrics], "/openapi/v3/"+metrics; got != want {
			t.Errorf("the address is %q, want %q: no hash is known", got, want)
		}
		if got, want := w.body(t, addresses[metrics]), "/openapi/v3/"+metrics+" of another server"; got != want {
			t.Errorf("the document is %q, want %q", got, want)
		}
		if !strings.Contains(addresses[builtin], "hash=") || strings.Contains(w.body(t, addresses[builtin]), "another server") {
			t.Errorf("a built-in group is described by another server, at %s", addresses[builtin])
		}
		if got := w.get(t, "/openapi/v3/apis/unknown.example.com/v1").StatusCode; got != http.StatusNotFound {
			t.Errorf("an unknown group: got %d", got)
		}
	})
}
