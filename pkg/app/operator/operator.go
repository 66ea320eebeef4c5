// Package operator serves the operator's port: probes, metrics and /syncz for operators of the
// host. Tenants do not need to reach it.
//
// The port accepts two protocols, which the first byte of a connection distinguishes. Plain HTTP
// serves only /livez and /readyz, so that the kubelet's probes need no TLS handshake. Everything
// else needs TLS and the bearer token of the release: /metrics, /syncz and, if it is enabled,
// /debug/pprof.
package operator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sublet-dev/sublet/api/syncz"
)

const (
	// probeTimeout bounds the health check of one probe.
	probeTimeout = 2 * time.Second
	// probeReuse is how long the result of a health check is reused. It limits the cost of
	// unauthenticated requests.
	probeReuse = 500 * time.Millisecond
	// headerTimeout bounds how long a client may take for the handshake and the headers.
	headerTimeout = 5 * time.Second
	// stopGrace is how long open requests may take when the server stops.
	stopGrace = 500 * time.Millisecond
)

// Options configure the operator's port.
type Options struct {
	// Listener is the port. Run closes it.
	Listener net.Listener
	// Live and Ready return an error if the server is not live or not ready. The error must not
	// contain names of the host, because the requests are not authenticated.
	Live, Ready func(ctx context.Context) error
	// Report returns the health of all parts.
	Report func() syncz.Report
	// Metrics serves /metrics.
	Metrics http.Handler
	// Profiling enables /debug/pprof.
	Profiling bool
	// Allows reports whether a bearer token is valid.
	Allows func(token string) bool
	// Certificate returns the certificate of the port.
	Certificate func() (*tls.Certificate, error)
}

// Server serves the operator's port. [New] creates one.
type Server struct {
	options Options
	plain   http.Handler
	secure  http.Handler
}

// New returns a server. It accepts no connections before Run.
func New(options Options) *Server {
	probes := http.NewServeMux()
	probes.Handle("GET /livez", probe(options.Live))
	probes.Handle("GET /readyz", probe(options.Ready))

	private := http.NewServeMux()
	private.Handle("GET /syncz", Syncz(options.Report))
	private.Handle("GET /metrics", options.Metrics)
	if options.Profiling {
		private.HandleFunc("GET /debug/pprof/", pprof.Index)
		private.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		private.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		private.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		private.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	secure := http.NewServeMux()
	secure.Handle("GET /livez", probes)
	secure.Handle("GET /readyz", probes)
	secure.Handle("/", withToken(options.Allows, private))

	plain := http.NewServeMux()
	plain.Handle("GET /livez", probes)
	plain.Handle("GET /readyz", probes)
	plain.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "plain HTTP serves /livez and /readyz only; use https", http.StatusForbidden)
	})
	return &Server{options: options, plain: plain, secure: secure}
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	address := s.options.Listener.Addr()
	secure, plain := newQueue(address), newQueue(address)
	servers := []*http.Server{newHTTPServer(s.plain), newHTTPServer(s.secure)}
	config := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.options.Certificate() },
	}
	group, serving := errgroup.WithContext(ctx)
	group.Go(func() error { return split(serving, s.options.Listener, secure, plain) })
	for server, listener := range map[*http.Server]net.Listener{servers[0]: plain, servers[1]: tls.NewListener(secure, config)} {
		group.Go(func() error {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("cannot serve the operator's port: %w", err)
			}
			return nil
		})
	}
	group.Go(func() error {
		<-serving.Done()
		_ = s.options.Listener.Close()
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		for _, server := range servers {
			if server.Shutdown(stopping) != nil {
				_ = server.Close()
			}
		}
		return nil
	})
	return group.Wait()
}

func newHTTPServer(handler http.Handler) *http.Server {
	return &http.Server{Handler: handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: discardLog()}
}

// withToken rejects requests without a valid bearer token.
func withToken(allows func(string) bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || !allows(token) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the bearer token of the operator's Secret is needed", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// probe returns a handler that runs a health check, at most once per probeReuse.
func probe(check func(ctx context.Context) error) http.Handler {
	var mu sync.Mutex
	var checked time.Time
	var result error
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if checked.IsZero() || time.Since(checked) > probeReuse {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), probeTimeout)
			result = check(ctx)
			cancel()
			checked = time.Now()
		}
		err := result
		mu.Unlock()
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok"))
	})
}
