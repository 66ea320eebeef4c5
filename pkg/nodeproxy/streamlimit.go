package nodeproxy

import (
	"fmt"
	"net/http"
	"sync/atomic"
)

// streamRetry is when a client may try a request again that found no free stream, in
// seconds.
const streamRetry = "10"

// streamLimit bounds the requests that are relayed at once. Each takes a connection of the
// host's API server and of a kubelet, for as long as the tenant wants.
type streamLimit struct {
	most int64 // 0 is no limit
	open atomic.Int64
}

// acquire takes a stream for an operation. It returns the response to a request for which
// there is none. The caller calls release after a request that got one.
//
// The API server replaces the text of a response to a log with one of its own, unless the
// code is 400. The tenant would not read what the limit is.
func (l *streamLimit) acquire(op operation) *errorResponse {
	open := l.open.Add(1)
	if l.most == 0 || open <= l.most {
		return nil
	}
	l.open.Add(-1)
	code := http.StatusBadRequest
	if op.stream {
		code = http.StatusTooManyRequests
	}
	return &errorResponse{
		code: code, retryAfter: streamRetry,
		text: fmt.Sprintf("too many open streams: this virtual cluster may have %d log, exec, attach and port-forward requests at once. "+
			"Close some and try again, or ask the operator of the host to raise policies.streams.max", l.most),
	}
}

// release gives a stream back.
func (l *streamLimit) release() { l.open.Add(-1) }
