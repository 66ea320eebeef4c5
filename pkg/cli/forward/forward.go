// Package forward reaches a port of a pod through the API server of its host. It connects again
// whenever the pod, the API server or the network goes away.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

const (
	// dialTimeout bounds one attempt to reach the pod.
	dialTimeout = 10 * time.Second
	// patience is how long a connection waits for a pod that is away.
	patience = 60 * time.Second
	// retryInterval is the time between two attempts.
	retryInterval = 200 * time.Millisecond
)

// Forwarder opens connections to a port of a pod.
type Forwarder struct {
	// Config and Client are those of the host.
	Config *rest.Config
	Client kubernetes.Interface
	// Namespace is the namespace of the pod.
	Namespace string
	// Pod returns the name of the pod to use. It is called for each connection to the host.
	Pod func(ctx context.Context) (string, error)
	// Port is the port of the pod.
	Port int

	mu       sync.Mutex
	session  *session // the one for new connections, nil if there is none
	requests int
	problem  error // why the last attempt failed, nil if it succeeded
}

// session is one connection to the host, with the streams of many connections to the pod.
type session struct {
	httpstream.Connection

	open   int  // connections that use it
	failed bool // gets no new connection, and is closed with its last one
}

// Serve forwards each connection that listener accepts, until ctx ends. It closes the listener.
func (f *Forwarder) Serve(ctx context.Context, listener net.Listener) error {
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	var open sync.WaitGroup
	defer open.Wait()
	for {
		local, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("cannot accept connections: %w", err)
		}
		open.Go(func() { f.handle(ctx, local) })
	}
}

// handle copies between a local connection and the pod.
func (f *Forwarder) handle(ctx context.Context, local net.Conn) {
	defer local.Close()
	remote, err := f.DialContext(ctx, "", "")
	if err != nil {
		return // the client sees that its connection is closed, and tries again
	}
	defer remote.Close()
	stop := context.AfterFunc(ctx, func() { _ = local.Close(); _ = remote.Close() })
	defer stop()
	done := make(chan struct{}, 2)
	go func() { _, _ = io.Copy(remote, local); done <- struct{}{} }()
	go func() { _, _ = io.Copy(local, remote); done <- struct{}{} }()
	<-done
}

// DialContext returns a connection to the port. It tries for a minute to reach the pod. It has
// the signature that http.Transport wants, and ignores network and address.
func (f *Forwarder) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(retryInterval)
	defer ticker.Stop()
	for {
		conn, err := f.dial(ctx)
		f.record(ctx, err)
		if err == nil {
			return conn, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot reach port %d: %w", f.Port, f.Explain(err))
		case <-ticker.C:
		}
	}
}

// record keeps why an attempt failed. The end of ctx is no reason by itself.
func (f *Forwarder) record(ctx context.Context, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil || ctx.Err() == nil || f.problem == nil {
		f.problem = err
	}
}

// Explain returns why the pod could not be reached, if that is known, and err if not. A client of HTTP that waits too
// long for [Forwarder.DialContext] returns no reason.
func (f *Forwarder) Explain(err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil || f.problem == nil {
		return err
	}
	return f.problem
}

// dial opens one connection. If that fails, the next call starts with a new session.
func (f *Forwarder) dial(ctx context.Context) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.session != nil {
		select {
		case <-f.session.CloseChan():
			f.session = nil
		default:
		}
	}
	if f.session == nil {
		opened, err := within(ctx, func() (httpstream.Connection, error) { return f.connect(ctx) })
		if err != nil {
			return nil, err
		}
		f.session = &session{Connection: opened}
	}
	used := f.session
	f.requests++
	id := f.requests
	conn, err := within(ctx, func() (*streamConn, error) { return openStreams(used, f.Port, id) })
	if err != nil {
		_ = used.Close()
		f.session = nil
		return nil, err
	}
	used.open++
	conn.release = func(failed bool) { f.release(used, failed) }
	go conn.watch()
	return conn, nil
}

// release ends the use of a session by a connection. After a failure, the session gets no more
// connections: its pod may have been replaced, which the host does not report in any other way.
// Connections that work keep it.
func (f *Forwarder) release(used *session, failed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	used.open--
	used.failed = used.failed || failed
	if used.failed && f.session == used {
		f.session = nil
	}
	if used.failed && used.open == 0 {
		_ = used.Close()
	}
}

// within calls open, which cannot be cancelled, and returns after dialTimeout at the latest.
func within[T io.Closer](ctx context.Context, open func() (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	type result struct {
		value T
		err   error
	}
	results := make(chan result)
	go func() {
		value, err := open()
		select {
		case results <- result{value, err}:
		case <-ctx.Done():
			if err == nil {
				_ = value.Close()
			}
		}
	}()
	select {
	case r := <-results:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// connect opens a session to the pod, over WebSockets or, on older hosts, SPDY.
func (f *Forwarder) connect(ctx context.Context) (httpstream.Connection, error) {
	pod, err := f.Pod(ctx)
	if err != nil {
		return nil, err
	}
	target := f.Client.CoreV1().RESTClient().Post().Resource("pods").Namespace(f.Namespace).Name(pod).SubResource("portforward").URL()
	roundTripper, upgrader, err := spdy.RoundTripperFor(f.Config)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare a port-forward: %w", err)
	}
	older := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: roundTripper}, http.MethodPost, target)
	newer, err := portforward.NewSPDYOverWebsocketDialerForStreaming(target, f.Config)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare a port-forward: %w", err)
	}
	session, protocol, err := portforward.NewFallbackDialerForStreaming(newer, older, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}).Dial(portforward.PortForwardProtocolV1Name)
	if err != nil {
		return nil, fmt.Errorf("cannot forward to pod %s/%s: %w", f.Namespace, pod, err)
	}
	if protocol != portforward.PortForwardProtocolV1Name {
		return nil, errors.Join(fmt.Errorf("cannot forward to pod %s/%s: the server speaks %q", f.Namespace, pod, protocol), session.Close())
	}
	return session, nil
}

// openStreams opens the two streams of one connection.
func openStreams(session httpstream.Connection, port, id int) (*streamConn, error) {
	headers := http.Header{}
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	headers.Set(corev1.PortHeader, strconv.Itoa(port))
	headers.Set(corev1.PortForwardRequestIDHeader, strconv.Itoa(id))
	failures, err := session.CreateStream(headers)
	if err != nil {
		return nil, fmt.Errorf("cannot open a stream: %w", err)
	}
	_ = failures.Close() // nothing is written to it
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := session.CreateStream(headers)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open a stream: %w", err), failures.Reset())
	}
	return &streamConn{data: data, failures: failures, session: session, release: func(bool) {}}, nil
}

// Close ends the session. A later call of DialContext opens another one.
func (f *Forwarder) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.session != nil {
		_ = f.session.Close()
		f.session = nil
	}
}

// ReadyPod returns a function for [Forwarder.Pod] that prefers a ready pod of the selector.
func ReadyPod(client kubernetes.Interface, namespace string, selector map[string]string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) { return findPod(ctx, client, namespace, selector) }
}
