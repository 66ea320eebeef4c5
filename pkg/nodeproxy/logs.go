package nodeproxy

import (
	"context"
	"io"
	"net/http"

	"k8s.io/klog/v2"
)

// relayLog relays a container's log, each piece as soon as the host sends it.
func (p *Proxy) relayLog(op operation, t target, w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	response, err := p.host.get(ctx, p.host.subresourceURL(t.host, op.subresource, op.toHostQuery(r.URL.Query(), t.container)))
	if err != nil {
		hostUnreachable(ctx, op, t, err).write(w)
		return
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		fromHostResponse(ctx, op, t, response).write(w)
		return
	}

	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusOK)
	if err := copyAndFlush(w, response.Body); err != nil {
		breakOff(ctx, t, err)
	}
}

// copyAndFlush copies body to w and flushes after each read.
func copyAndFlush(w http.ResponseWriter, body io.Reader) error {
	controller := http.NewResponseController(w)
	// The header goes first: a log that is followed may have no line yet.
	if err := controller.Flush(); err != nil {
		return err
	}
	buffer := make([]byte, 16<<10)
	for {
		n, readErr := body.Read(buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return err
			}
			if err := controller.Flush(); err != nil {
				return err
			}
		}
		if readErr == io.EOF {
			return nil
		}
		if readErr != nil {
			return readErr
		}
	}
}

// breakOff breaks the connection of a response that cannot be finished. The client
// then sees that the log is incomplete.
func breakOff(ctx context.Context, t target, err error) {
	if ctx.Err() == nil {
		klog.FromContext(ctx).V(2).Info("Log of host pod ended early", "pod", t.virtual, "hostPod", t.host, "reason", err.Error())
	}
	panic(http.ErrAbortHandler)
}
