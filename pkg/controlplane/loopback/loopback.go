// Package loopback lets the parts of the process call the API server as
// functions: no socket, no TLS, no HTTP framing. A [Server] holds the handler, and
// a transport per caller turns an HTTP request into a call.
//
// The caller's identity is in a context key that only this package can set. So no
// request from the network can claim to be a part of the process. A user name proves
// nothing: a tenant can impersonate any.
package loopback

import (
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

// errNotServing is the error of a request after the API server has stopped.
// Clients treat it like a refused connection.
var errNotServing = errors.New("the API server is not running")

// A Caller is a part of the process that calls the API server.
type Caller struct {
	// User is who the caller is for authorization and in objects.
	User user.Info
	// SkipsTenantAdmission exempts the caller from admission that a tenant
	// configures. It is for what a control plane needs to start and to stay whole.
	SkipsTenantAdmission bool
	// KeepsCopies exempts what the caller writes of copies of host objects from that
	// admission too.
	KeepsCopies bool
	// Work is what the request is part of, for handlers that know its type.
	// Default: nil, of nothing.
	Work any
}

// callerKey is the context key of the [Caller].
type callerKey struct{}

// callerOf returns the caller of a request that came through this package.
func callerOf(ctx context.Context) (Caller, bool) {
	caller, ok := ctx.Value(callerKey{}).(Caller)
	return caller, ok
}

// UserOf returns the user of a request from within the process. ok is false for a
// request that came over the network.
func UserOf(ctx context.Context) (who user.Info, ok bool) {
	caller, ok := callerOf(ctx)
	return caller.User, ok
}

// IsLoopback reports whether a request comes from within the process.
func IsLoopback(ctx context.Context) bool {
	_, ok := callerOf(ctx)
	return ok
}

// SkipsTenantAdmission reports whether a request is exempt from admission that a
// tenant configures.
func SkipsTenantAdmission(ctx context.Context) bool {
	caller, _ := callerOf(ctx)
	return caller.SkipsTenantAdmission
}

// KeepsCopies reports whether a request comes from who keeps the copies of host objects.
func KeepsCopies(ctx context.Context) bool {
	caller, _ := callerOf(ctx)
	return caller.KeepsCopies
}

// WorkOf returns what a request from within the process is part of, nil for nothing.
func WorkOf(ctx context.Context) any {
	caller, _ := callerOf(ctx)
	return caller.Work
}

// A Server holds the handler of the API server for callers in the process.
type Server struct {
	handler atomic.Pointer[http.Handler]
	decided chan struct{} // closed once the server runs, or never will
	once    sync.Once
}

// NewServer returns a server that does not run yet: requests wait for Open.
func NewServer() *Server { return &Server{decided: make(chan struct{})} }

// Open passes requests to the handler from now on.
func (s *Server) Open(handler http.Handler) {
	s.handler.Store(&handler)
	s.once.Do(func() { close(s.decided) })
}

// Close refuses requests from now on.
func (s *Server) Close() {
	s.handler.Store(nil)
	s.once.Do(func() { close(s.decided) })
}

// awaitHandler returns the handler. A request that comes before the server runs
// waits, so that its sender need not poll.
func (s *Server) awaitHandler(ctx context.Context) (http.Handler, error) {
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

// Transport returns the round tripper of one caller.
func (s *Server) Transport(caller Caller) http.RoundTripper {
	return &transport{server: s, caller: caller}
}

// transport answers HTTP requests by calling the handler.
type transport struct {
	server *Server
	caller Caller
}

// RoundTrip calls the handler in the goroutine of the caller, unless the answer
// is a stream.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	handler, err := t.server.awaitHandler(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	// The server side gets a context without the values of the client's. A client
	// that is itself a request handler must not pass on its audit record, user or
	// deadline.
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), callerKey{}, t.caller)) //nolint:forbidigo // see above
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

// serverSide returns a client's request as a server would have read it.
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

// closeBody closes the body of a request, as a round tripper has to.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// isStream reports whether the answer may come in pieces over time.
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

// call runs the handler. It returns a panic as an error, where a network server
// would cut the connection.
func call(handler http.Handler, w http.ResponseWriter, req *http.Request) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("cannot serve the request: the handler panicked: %v", cause)
		}
	}()
	handler.ServeHTTP(w, req)
	return nil
}

// response returns the answer to a request.
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
