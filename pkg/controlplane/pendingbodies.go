package controlplane

import (
	"net/http"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/kubernetes/pkg/api/legacyscheme"

	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
)

const (
	// streamBuffer is how many bytes of a body upstream's HTTP/2 server keeps for a handler that does not read them.
	streamBuffer = 256 << 10
	// bodiesShare divides the memory for requests. One part of it is what such bodies may take in addition.
	bodiesShare = 2
	// smallBody is the size of bodies for which a quarter of that is left, in bytes. One account of the tenant may fill the
	// rest.
	smallBody = 16 << 10
)

// pendingBodies bounds the memory of bodies that handlers have not read. The server reads ahead, also for requests
// that wait for their turn and for those that pass through. Neither is in the account of a request.
type pendingBodies struct {
	// requestMemory returns how many bytes requests may take together.
	requestMemory func() int64
	used          atomic.Int64
}

// denyExcess denies requests whose bodies find no room. Others have it until their handler returns.
func (p *pendingBodies) denyExcess(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		size := pendingSize(req)
		if size == 0 {
			next.ServeHTTP(w, req)
			return
		}
		defer p.used.Add(-size)
		limit := p.requestMemory() / bodiesShare
		if size > smallBody {
			limit -= limit / 4
		}
		if p.used.Add(size) > limit {
			responsewriters.ErrorNegotiated(newTooManyBodies(), legacyscheme.Codecs, metav1.Unversioned, w, req)
			return
		}
		next.ServeHTTP(w, req)
	})
}

// pendingSize returns how many bytes of its body the server may keep for a request. HTTP/1 reads nothing ahead.
func pendingSize(req *http.Request) int64 {
	switch {
	case req.ProtoMajor < 2, req.Body == nil, req.Body == http.NoBody, loopback.IsLoopback(req.Context()):
		return 0
	case req.ContentLength < 0:
		return streamBuffer
	}
	return min(req.ContentLength, streamBuffer)
}

// newTooManyBodies returns the error that a client gets whose body finds no room.
func newTooManyBodies() *apierrors.StatusError {
	return apierrors.NewTooManyRequests("the requests of the clients of this cluster send more than its control plane has memory for. "+
		"Try again, or ask the operator to raise "+memorySetting, 1)
}
