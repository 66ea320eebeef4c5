package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/metrics"
	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/pkg/meter"
)

// hostFirstKey marks the context of host-first requests.
type hostFirstKey struct{}

// WithHostFirst returns a context that marks writes to the host as host-first: they precede the
// write of a tenant. Every replica may send them, not only the leader.
func WithHostFirst(ctx context.Context) context.Context {
	return context.WithValue(ctx, hostFirstKey{}, true)
}

// Fence returns a config whose clients send no write while mayWrite returns an error. The client
// gets a conflict instead, which every caller retries later. The fence is the last line of
// defense: it works even if a part of the server forgets to check.
func Fence(config *rest.Config, mayWrite func() error) *rest.Config {
	return wrapFence(config, func(next http.RoundTripper) *fence { return &fence{next: next, mayWrite: mayWrite} })
}

// Leader decides whether the writes of one replica are allowed.
type Leader interface {
	// MayWrite returns an error if the replica must not send host-first writes.
	MayWrite() error
	// MayLead returns an error if the leader parts must not write.
	MayLead() error
	// Term returns the pod and the epoch of the current term.
	Term() string
}

// FenceLeader returns a config for the clients of the leader parts. Their writes have the term
// in the user agent, for the audit log of the host. Host-first writes do not.
func FenceLeader(config *rest.Config, leader Leader) *rest.Config {
	agent, late := config.UserAgent+" leader/", lateWrites()
	return wrapFence(config, func(next http.RoundTripper) *fence {
		return &fence{
			next: next, mayWrite: leader.MayWrite, mayLead: leader.MayLead,
			agent: func() string { return agent + leader.Term() }, late: late,
		}
	})
}

func wrapFence(config *rest.Config, wrap func(http.RoundTripper) *fence) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return wrap(next) })
	return config
}

type fence struct {
	next     http.RoundTripper
	mayWrite func() error
	// mayLead decides about writes that are not host-first. nil means that mayWrite decides.
	mayLead func() error
	// agent returns the user agent of the writes that mayLead allows.
	agent func() string
	// late counts writes whose term had ended when the response arrived.
	late *metrics.Counter
}

// WrappedRoundTripper returns the transport behind the fence. The node proxy gets the TLS config
// for its streams from it.
func (f *fence) WrappedRoundTripper() http.RoundTripper { return f.next }

// RoundTrip implements http.RoundTripper.
func (f *fence) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method == http.MethodGet || request.Method == http.MethodHead {
		return f.next.RoundTrip(request)
	}
	if f.mayLead == nil || request.Context().Value(hostFirstKey{}) != nil {
		if err := f.mayWrite(); err != nil {
			return newConflict(request, err)
		}
		return f.next.RoundTrip(request)
	}
	if err := f.mayLead(); err != nil {
		return newConflict(request, err)
	}
	request = request.Clone(request.Context())
	request.Header.Set("User-Agent", f.agent())
	f.guardBody(request)
	response, err := f.next.RoundTrip(request)
	switch {
	case errors.Is(err, errTermEnded):
		return newConflict(request, err)
	case err == nil && response.StatusCode < http.StatusMultipleChoices && f.mayLead() != nil:
		f.countLate(request)
	}
	return response, err
}

// guardBody checks mayLead again whenever the connection reads a part of the body, which is
// right before it is sent. So a process that was suspended after the first check never sends a
// complete request.
func (f *fence) guardBody(request *http.Request) {
	if request.Body == nil || request.Body == http.NoBody {
		return
	}
	request.Body = &guardedBody{request.Body, f.mayLead}
	if again := request.GetBody; again != nil {
		request.GetBody = func() (io.ReadCloser, error) {
			body, err := again()
			if err != nil {
				return nil, err
			}
			return &guardedBody{body, f.mayLead}, nil
		}
	}
}

// countLate counts a write that the host has accepted, but whose term had ended when the
// response arrived. The host may have accepted it before the end.
func (f *fence) countLate(request *http.Request) {
	klog.InfoS("The term of this leader ended during a write to the host", "method", request.Method, "path", request.URL.Path)
	f.late.Inc()
}

// errTermEnded is returned when the body of a write was not sent completely.
var errTermEnded = errors.New("the term ended before the write was sent")

// guardedBody is a request body that can only be read while the replica leads.
type guardedBody struct {
	io.ReadCloser

	mayLead func() error
}

// Read reads only while the replica leads.
func (b *guardedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n == 0 {
		return n, err // The host may already have the whole body.
	}
	if reason := b.mayLead(); reason != nil {
		return 0, fmt.Errorf("%w: %w", errTermEnded, reason)
	}
	return n, err
}

var lateWrites = sync.OnceValue(func() *metrics.Counter { //nolint:gochecknoglobals // a metric is one per process
	return meter.Counter("sublet_leader_late_writes_total", "Writes to the host whose term had ended when the host's answer arrived.")
})

// newConflict returns a conflict as the response to a request that is not sent.
func newConflict(request *http.Request, reason error) (*http.Response, error) {
	if request.Body != nil {
		_ = request.Body.Close()
	}
	conflict := apierrors.NewConflict(schema.GroupResource{Resource: "requests"}, request.URL.Path, reason).Status()
	conflict.APIVersion, conflict.Kind = "v1", "Status"
	body, err := json.Marshal(conflict)
	if err != nil {
		return nil, fmt.Errorf("cannot encode a conflict: %w", err)
	}
	return &http.Response{
		Status: "409 Conflict", StatusCode: http.StatusConflict,
		Proto: request.Proto, ProtoMajor: request.ProtoMajor, ProtoMinor: request.ProtoMinor,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)), Request: request,
	}, nil
}
