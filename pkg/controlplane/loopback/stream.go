package loopback

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync"
)

// streamBuffer is how many bytes a watch may be ahead of its reader before the
// handler has to wait.
const streamBuffer = 256 << 10

// roundTripStream returns as soon as the handler has decided on a status, and
// leaves it running behind the body.
func roundTripStream(handler http.Handler, inner, req *http.Request, stop func()) (*http.Response, error) {
	w := newStreamResponse(stop)
	abort := context.AfterFunc(inner.Context(), w.abort)
	go func() {
		defer closeBody(req)
		defer stop()
		defer abort()
		w.finish(call(handler, w, inner))
	}()
	select {
	case <-w.started:
		if w.code == 0 {
			return nil, w.err
		}
		return response(req, w.code, w.sent, w, -1), nil
	case <-req.Context().Done():
		stop()
		return nil, req.Context().Err()
	}
}

// A streamResponse is both ends of a streamed answer: the handler writes to it
// and the client reads from it.
type streamResponse struct {
	neverClosed
	header  http.Header
	stop    func()
	started chan struct{} // closed once code and sent, or err, are set

	mu   sync.Mutex
	cond sync.Cond
	code int
	sent http.Header
	buf  bytes.Buffer
	done bool  // the handler has returned or must not write any more
	err  error // why, if not at the end of the answer
}

func newStreamResponse(stop func()) *streamResponse {
	w := &streamResponse{header: http.Header{}, stop: stop, started: make(chan struct{})}
	w.cond.L = &w.mu
	return w
}

func (w *streamResponse) Header() http.Header { return w.header }

func (w *streamResponse) WriteHeader(code int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin(code)
}

// begin fixes status and headers. The caller holds the lock.
func (w *streamResponse) begin(code int) {
	if w.code != 0 || w.done {
		return
	}
	w.code = code
	w.sent = w.header.Clone()
	close(w.started)
}

func (w *streamResponse) Flush() { w.WriteHeader(http.StatusOK) }

// Write waits while the reader is too far behind.
func (w *streamResponse) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin(http.StatusOK)
	for !w.done && w.buf.Len() > streamBuffer {
		w.cond.Wait()
	}
	if w.done {
		return 0, io.ErrClosedPipe
	}
	n, err := w.buf.Write(p)
	w.cond.Broadcast()
	return n, err
}

// finish marks the end of the answer.
func (w *streamResponse) finish(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.begin(http.StatusOK)
	}
	w.end(err)
}

// abort cuts the stream because one of its ends is gone.
func (w *streamResponse) abort() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end(context.Canceled)
}

// end wakes both sides for the last time. The caller holds the lock.
func (w *streamResponse) end(err error) {
	if w.done {
		return
	}
	w.done, w.err = true, err
	if w.code == 0 {
		close(w.started)
	}
	w.cond.Broadcast()
}

// Read waits for the next piece.
func (w *streamResponse) Read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.done && w.buf.Len() == 0 {
		w.cond.Wait()
	}
	if w.buf.Len() > 0 {
		n, err := w.buf.Read(p)
		if w.buf.Len() == 0 && w.buf.Cap() > streamBuffer {
			// A burst is over; an idle watch should not keep its memory.
			w.buf = bytes.Buffer{}
		}
		w.cond.Broadcast()
		return n, err
	}
	if w.err != nil {
		return 0, w.err
	}
	return 0, io.EOF
}

// Close ends the request.
func (w *streamResponse) Close() error {
	w.stop()
	w.abort()
	return nil
}
