package consistency

import (
	"context"
	"errors"
	"net"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
)

// Pick returns the client for the next request: one of a replica that is ready. It
// returns nil if there is none.
type Pick func() kubernetes.Interface

// outcome is what a client knows about its request.
type outcome int

const (
	// acknowledged requests have taken effect.
	acknowledged outcome = iota
	// conflicted requests met another version of their object.
	conflicted
	// failed requests have had no effect and never will.
	failed
	// unknown requests may take effect until the end of time.
	unknown
)

// Outcomes counts requests by what their clients know about them.
type Outcomes struct {
	// Acknowledged requests have taken effect, Conflicted ones met another version.
	Acknowledged, Conflicted int
	// Unknown requests have no answer. Those that had no effect for sure are not counted.
	Unknown int
}

func (o *Outcomes) add(one outcome) {
	switch one {
	case acknowledged:
		o.Acknowledged++
	case conflicted:
		o.Conflicted++
	case unknown:
		o.Unknown++
	case failed:
	}
}

// outcomeOf returns what is known about a write that returned err.
func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return acknowledged
	case apierrors.IsConflict(err):
		return conflicted
	case isUnsent(err), apierrors.IsTooManyRequests(err), apierrors.IsForbidden(err), apierrors.IsUnauthorized(err),
		apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsNotFound(err):
		return failed
	}
	return unknown
}

// isUnsent reports whether the request did not reach any server.
func isUnsent(err error) bool {
	var network *net.OpError
	return errors.Is(err, errNoReplica) || errors.As(err, &network) && network.Op == "dial"
}

// errNoReplica is the error of a request for which no replica is ready.
var errNoReplica = errors.New("no replica is ready")

// request bounds one request to the replica that pick returns.
func request(ctx context.Context, pick Pick, timeout time.Duration, send func(context.Context, kubernetes.Interface) error) error {
	client := pick()
	if client == nil {
		return errNoReplica
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return send(ctx, client)
}
