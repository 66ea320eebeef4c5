package loopback

import (
	"bytes"
	"io"
	"net/http"
)

// roundTripWhole waits for the whole answer.
func roundTripWhole(handler http.Handler, inner, req *http.Request) (*http.Response, error) {
	w := &wholeResponse{header: http.Header{}}
	if err := call(handler, w, inner); err != nil {
		return nil, err
	}
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	if w.code == 0 {
		w.code = http.StatusOK
	}
	return response(req, w.code, w.header, io.NopCloser(&w.body), int64(w.body.Len())), nil
}

// A wholeResponse collects an answer that is not a stream.
type wholeResponse struct {
	neverClosed
	header http.Header
	code   int
	body   bytes.Buffer
}

func (w *wholeResponse) Header() http.Header { return w.header }

func (w *wholeResponse) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
	}
}

func (w *wholeResponse) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// Flush implements http.Flusher. It has nobody to flush to before the answer is complete.
func (w *wholeResponse) Flush() {}

// neverClosed satisfies http.CloseNotifier, without which handlers refuse to
// stream. The handlers of the API server watch the request's context.
type neverClosed struct{}

// CloseNotify returns a channel on which nothing is ever sent.
func (neverClosed) CloseNotify() <-chan bool { return nil }
