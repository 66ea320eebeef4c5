package host

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// Fence returns a configuration whose clients send no write while mayWrite
// returns a reason. Such a write ends as a conflict, which every client tries again later.
// Fence is the last wall: it holds whatever part of the server forgets to ask.
func Fence(config *rest.Config, mayWrite func() error) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &fence{next: next, mayWrite: mayWrite}
	})
	return config
}

type fence struct {
	next     http.RoundTripper
	mayWrite func() error
}

// WrappedRoundTripper returns the transport behind the fence. The node proxy finds the
// TLS settings for its streams there.
func (f *fence) WrappedRoundTripper() http.RoundTripper { return f.next }

// RoundTrip implements http.RoundTripper.
func (f *fence) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method == http.MethodGet || request.Method == http.MethodHead {
		return f.next.RoundTrip(request)
	}
	reason := f.mayWrite()
	if reason == nil {
		return f.next.RoundTrip(request)
	}
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
