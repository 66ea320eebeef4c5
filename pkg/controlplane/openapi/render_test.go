package openapi

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"testing/synctest"
	"weak"

	"k8s.io/kube-openapi/pkg/spec3"

	"github.com/sublet-dev/sublet/pkg/controlplane/requestmemory"
)

// blockedWriter is a writer of an answer that nobody reads.
type blockedWriter struct {
	*httptest.ResponseRecorder
	end <-chan struct{}
}

// Write waits until the test ends.
func (w blockedWriter) Write(p []byte) (int, error) {
	<-w.end
	return len(p), nil
}

// TestUnreadDocuments lets clients not read what they ask for. Only the bytes of the documents stay in memory.
func TestUnreadDocuments(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		var built []weak.Pointer[spec3.OpenAPI]
		w.v3.PostProcessSpec = func(document *spec3.OpenAPI) (*spec3.OpenAPI, error) {
			built = append(built, weak.Make(document))
			return document, nil
		}
		end := make(chan struct{})
		for range 2 {
			req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, v3Path+"/"+builtin, nil)
			go w.paths.ServeHTTP(blockedWriter{httptest.NewRecorder(), end}, req)
		}
		synctest.Wait()
		runtime.GC()
		if len(built) != 2 {
			t.Errorf("%d documents were built, want 2", len(built))
		}
		for i, document := range built {
			if document.Value() != nil {
				t.Errorf("document %d stays in memory while a client does not read it", i)
			}
		}
		close(end)
		synctest.Wait()
	})
}

// TestDocumentsCount asks for a document while other requests take the memory.
func TestDocumentsCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		const limit, small = 1 << 20, 64 << 10
		budget := requestmemory.NewBudget(func() int64 { return limit })
		newAccount := func() *requestmemory.Account {
			account, err := budget.NewAccount("tenant")
			if err != nil {
				t.Fatal(err)
			}
			return account
		}
		exceeding, full, own := newAccount(), newAccount(), newAccount()
		defer exceeding.Close()
		defer own.Close()
		for account, size := range map[*requestmemory.Account]int64{exceeding: 2 * limit, full: limit + small} {
			if !requestmemory.TryAdd(requestmemory.WithAccount(t.Context(), account), size) {
				t.Fatal("the budget is full")
			}
		}
		ctx := requestmemory.WithAccount(t.Context(), own)
		if !requestmemory.TryAdd(ctx, small) { // So much does not count.
			t.Fatal("small requests have room")
		}
		get := func() int {
			req := httptest.NewRequestWithContext(ctx, http.MethodGet, v3Path+"/"+builtin, nil)
			answer := httptest.NewRecorder()
			w.paths.ServeHTTP(answer, req)
			return answer.Code
		}
		if code := get(); code != http.StatusTooManyRequests {
			t.Errorf("without room: got %d, want 429", code)
		}
		full.Close()
		if code := get(); code != http.StatusOK {
			t.Errorf("with room: got %d, want 200", code)
		}
	})
}
