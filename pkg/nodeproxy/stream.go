package nodeproxy

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"

	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
)

// bearerProtocol is the prefix of the WebSocket protocol by which browsers send
// a token. The token is the tenant's, so the host must not get it.
const bearerProtocol = "base64url.bearer.authorization.k8s.io." //nolint:gosec // a prefix, no token

// relayStream relays a request that switches to another protocol, and then the bytes of
// both sides.
func (p *Proxy) relayStream(op operation, t target, w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	if !httpstream.IsUpgradeRequest(r) {
		(&errorResponse{code: http.StatusBadRequest, text: "Upgrade request required"}).write(w)
		return
	}
	u := p.host.subresourceURL(t.host, op.subresource, op.toHostQuery(r.URL.Query(), t.container))
	conn, request, err := p.host.upgrade(ctx, r.Method, u, toHostHeader(r.Header))
	if err != nil {
		hostUnreachable(ctx, op, t, err).write(w)
		return
	}
	defer func() { _ = conn.Close() }()
	// The host may respond late. A client that disconnects, or a proxy that stops,
	// ends the wait.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	hostReader := bufio.NewReader(conn)
	response, err := http.ReadResponse(hostReader, request)
	if err != nil {
		hostUnreachable(ctx, op, t, err).write(w)
		return
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusSwitchingProtocols {
		fromHostResponse(ctx, op, t, response).write(w)
		return
	}
	switchProtocols(ctx, w, response, half{Conn: conn, reader: hostReader})
}

// switchProtocols takes the connection from the HTTP server and relays between it
// and the host until one of them ends.
func switchProtocols(ctx context.Context, w http.ResponseWriter, response *http.Response, hostSide half) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		klog.FromContext(ctx).Error(err, "Cannot hijack connection of API server")
		(&errorResponse{code: http.StatusInternalServerError, text: "cannot switch protocols on this connection"}).write(w)
		return
	}
	defer func() { _ = conn.Close() }()
	if recorder, ok := w.(*codeRecorder); ok {
		recorder.code, recorder.written = http.StatusSwitchingProtocols, true
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	if _, err := conn.Write(encodeSwitch(response)); err != nil {
		return
	}
	relay(half{Conn: conn, reader: buffered.Reader}, hostSide)
}

// half is one side of a relay. Its reader starts with the bytes that came with the
// header, and continues with the connection.
type half struct {
	net.Conn
	reader io.Reader
}

// relay copies in both directions until either side ends or fails. It returns when
// both directions have stopped. A stream ends as a whole: no protocol in use
// continues in one direction only.
func relay(a, b half) {
	done := make(chan struct{}, 2)
	pipe := func(to, from half) {
		// A side that disconnects is an error here. The protocol inside the stream
		// reports its own errors.
		_, _ = io.Copy(to.Conn, from.reader)
		done <- struct{}{}
	}
	go pipe(a, b)
	go pipe(b, a)
	<-done
	_ = a.Close()
	_ = b.Close()
	<-done
}

// toHostHeader returns the part of a request's header that the host needs. The rest,
// such as credentials, is between the tenant and the virtual API server.
func toHostHeader(from http.Header) http.Header {
	to := protocolHeader(from)
	const protocols = "Sec-WebSocket-Protocol"
	if values := to.Values(protocols); len(values) > 0 {
		to.Del(protocols)
		if kept := dropTokens(values); kept != "" {
			to.Set(protocols, kept)
		}
	}
	return to
}

// dropTokens returns the WebSocket protocols of the values without those that are
// tokens.
func dropTokens(values []string) string {
	var kept []string
	for _, value := range values {
		for protocol := range strings.SplitSeq(value, ",") {
			if protocol = strings.TrimSpace(protocol); protocol != "" && !strings.HasPrefix(protocol, bearerProtocol) {
				kept = append(kept, protocol)
			}
		}
	}
	return strings.Join(kept, ", ")
}

// protocolHeader returns the part of a header by which two sides agree on a protocol.
func protocolHeader(from http.Header) http.Header {
	to := http.Header{}
	for name, values := range from {
		switch {
		case name == "Connection", name == "Upgrade",
			strings.HasPrefix(name, "X-Stream-Protocol-"), strings.HasPrefix(name, "X-Accepted-Stream-Protocol-"),
			strings.HasPrefix(name, "Sec-Websocket-"):
			to[name] = append([]string(nil), values...)
		}
	}
	return to
}

// encodeSwitch returns the header of the response that agrees to switch.
func encodeSwitch(response *http.Response) []byte {
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	// Writing to memory does not fail.
	_ = protocolHeader(response.Header).Write(&head)
	head.WriteString("\r\n")
	return head.Bytes()
}
