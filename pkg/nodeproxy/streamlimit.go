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

// acquire takes a stream. It returns the response to a request for which there is none. The
// caller calls release after a request that got one.
func (l *streamLimit) acquire() *errorResponse {
	open := l.open.Add(1)
	if l.most == 0 || open <= l.most {
		return nil
	}
	l.open.Add(-1)
	return &errorResponse{
		code: http.StatusTooManyRequests, retryAfter: streamRetry,
		text: fmt.Sprintf("too many open streams: this virtual cluster may have %d log, exec, attach and port-forward requests at once. "+
			"Close some and try again, or ask the operator of the host to raise policies.streams.max", l.most),
	}
}

// release gives a stream back.
func (l *streamLimit) release() { l.open.Add(-1) }
