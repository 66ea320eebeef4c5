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
// a token. It is the tenant's and no business of the host.
const bearerProtocol = "base64url.bearer.authorization.k8s.io."

// stream relays a request that asks to switch to another protocol, and after
// that whatever either side sends.
func (p *Proxy) stream(op operation, t target, w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	if !httpstream.IsUpgradeRequest(r) {
		(&errorResponse{code: http.StatusBadRequest, text: "Upgrade request required"}).write(w)
		return
	}
	u := p.host.url(t.host, op.subresource, op.query(r.URL.Query(), t.container))
	conn, request, err := p.host.upgrade(ctx, r.Method, u, upgradeHeader(r.Header))
	if err != nil {
		hostUnreachable(ctx, op, t, err).write(w)
		return
	}
	defer func() { _ = conn.Close() }()
	// The host may take its time to answer; a tenant who leaves meanwhile, or a
	// proxy that stops, ends the wait.
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
		fromHost(ctx, op, t, response).write(w)
		return
	}
	switchProtocols(ctx, w, response, half{Conn: conn, reader: hostReader})
}

// switchProtocols takes the connection over from the HTTP server and relays
// between it and the host until one of them ends.
func switchProtocols(ctx context.Context, w http.ResponseWriter, response *http.Response, hostSide half) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		klog.FromContext(ctx).Error(err, "Cannot take over the connection of the API server")
		(&errorResponse{code: http.StatusInternalServerError, text: "cannot switch protocols on this connection"}).write(w)
		return
	}
	defer func() { _ = conn.Close() }()
	if recorder, ok := w.(*codeRecorder); ok {
		recorder.code, recorder.written = http.StatusSwitchingProtocols, true
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	if _, err := conn.Write(switchingHead(response)); err != nil {
		return
	}
	relay(half{Conn: conn, reader: buffered.Reader}, hostSide)
}

// half is one side of a relay. Its reader holds what came with the head of the
// request or of the answer, and reads on from the connection.
type half struct {
	net.Conn
	reader io.Reader
}

// relay copies both ways until either side ends or fails, and returns when
// neither direction runs any more. Streams end as a whole: no protocol in use
// goes on with one direction only.
func relay(a, b half) {
	done := make(chan struct{}, 2)
	pipe := func(to, from half) {
		// An error is how a side that went away looks like; the streams inside
		// have their own ways to say what happened.
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

// upgradeHeader is the part of a request's header that the host has to see. The
// rest is between the tenant and the virtual API server.
func upgradeHeader(from http.Header) http.Header {
	to := streamHeader(from)
	const protocols = "Sec-Websocket-Protocol"
	if values := to.Values(protocols); len(values) > 0 {
		to.Del(protocols)
		if kept := withoutTokens(values); kept != "" {
			to.Set(protocols, kept)
		}
	}
	return to
}

// withoutTokens is a list of WebSocket protocols without those that are tokens.
func withoutTokens(values []string) string {
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

// streamHeader is the part of a header by which two sides agree on a protocol.
func streamHeader(from http.Header) http.Header {
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

// switchingHead is the head of the answer that agrees to switch.
func switchingHead(response *http.Response) []byte {
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	// Writing to memory does not fail.
	_ = streamHeader(response.Header).Write(&head)
	head.WriteString("\r\n")
	return head.Bytes()
}
