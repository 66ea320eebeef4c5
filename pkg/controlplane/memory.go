package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/apiserver/pkg/authentication/user"
)

// streamBuffer is how many bytes a watch may be ahead of its reader before the
// handler has to wait.
const streamBuffer = 256 << 10

// errNotServing is what in-memory clients get after the API server has stopped.
// Clients treat it like a refused connection.
var errNotServing = errors.New("the API server is not running")

// identityKey is the context key under which the in-memory transport passes on
// who is calling. Nobody outside this package can set it, so nothing that
// arrives over the network can.
type identityKey struct{}

// identity returns who calls in memory, if the request came that way.
func identity(ctx context.Context) (user.Info, bool) {
	who, ok := ctx.Value(identityKey{}).(user.Info)
	return who, ok
}

// A memoryServer is the API server's handler as in-memory clients see it.
type memoryServer struct {
	handler atomic.Pointer[http.Handler]
	decided chan struct{} // closed when the server runs for the first time, or never will
	once    sync.Once
}

func newMemoryServer() *memoryServer { return &memoryServer{decided: make(chan struct{})} }

// open lets requests through to the handler.
func (s *memoryServer) open(handler http.Handler) {
	s.handler.Store(&handler)
	s.once.Do(func() { close(s.decided) })
}

// close refuses requests from now on.
func (s *memoryServer) close() {
	s.handler.Store(nil)
	s.once.Do(func() { close(s.decided) })
}

// await returns the handler. Requests that come before the server runs wait for
// it, which spares their senders to find out by trying.
func (s *memoryServer) await(ctx context.Context) (http.Handler, error) {
	select {
	case <-s.decided:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if handler := s.handler.Load(); handler != nil {
		return *handler, nil
	}
	return nil, errNotServing
}

// transport returns the round tripper of one caller.
func (s *memoryServer) transport(who user.Info) http.RoundTripper {
	return &memoryTransport{server: s, who: who}
}

// A memoryTransport answers HTTP requests by calling the handler: no socket, no
// TLS, no HTTP framing.
type memoryTransport struct {
	server *memoryServer
	who    user.Info
}

// RoundTrip calls the handler in the goroutine of the caller, unless the answer
// is a stream.
func (t *memoryTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	handler, err := t.server.await(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	// The server side gets a context without the caller's values: a caller
	// that is itself a request handler must not hand its own audit record,
	// user or deadline down.
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), identityKey{}, t.who))
	detach := context.AfterFunc(req.Context(), cancel)
	stop := func() { detach(); cancel() }

	inner := serverSide(ctx, req)
	if isStream(req) {
		return roundTripStream(handler, inner, req, stop)
	}
	defer stop()
	defer closeBody(req)
	return roundTripWhole(handler, inner, req)
}

// serverSide turns a client's request into what a server would have read.
func serverSide(ctx context.Context, req *http.Request) *http.Request {
	inner := req.WithContext(ctx)
	address := *req.URL
	inner.URL = &address
	inner.Header = req.Header.Clone()
	if inner.Header == nil {
		inner.Header = http.Header{}
	}
	inner.RequestURI = address.RequestURI()
	inner.RemoteAddr = "127.0.0.1:0"
	inner.Proto, inner.ProtoMajor, inner.ProtoMinor = "HTTP/2.0", 2, 0
	if inner.Host == "" {
		inner.Host = address.Host
	}
	if inner.Body == nil {
		inner.Body = http.NoBody
	}
	return inner
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// isStream tells whether the answer may come in pieces over time.
func isStream(req *http.Request) bool {
	switch query := req.URL.Query(); {
	case query.Get("watch") != "" && query.Get("watch") != "false" && query.Get("watch") != "0":
		return true
	case query.Get("follow") == "true" || query.Get("follow") == "1":
		return true
	}
	path := req.URL.Path
	return strings.Contains(path, "/watch/") || strings.Contains(path, "/proxy")
}

// call runs the handler and turns a panic, which a network server would answer
// by cutting the connection, into an error.
func call(handler http.Handler, w http.ResponseWriter, req *http.Request) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("the API server gave up on the request: %v", cause)
		}
	}()
	handler.ServeHTTP(w, req)
	return nil
}

func response(req *http.Request, code int, header http.Header, body io.ReadCloser, length int64) *http.Response {
	return &http.Response{
		Status:        fmt.Sprintf("%d %s", code, http.StatusText(code)),
		StatusCode:    code,
		Proto:         "HTTP/2.0",
		ProtoMajor:    2,
		Header:        header,
		Body:          body,
		ContentLength: length,
		Request:       req,
	}
}

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

// Flush has nobody to flush to before the answer is complete.
func (w *wholeResponse) Flush() {}

// neverClosed satisfies http.CloseNotifier, without which handlers refuse to
// stream. The handlers of the API server watch the request's context.
type neverClosed struct{}

// CloseNotify returns a channel on which nothing is ever sent.
func (neverClosed) CloseNotify() <-chan bool { return nil }

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
