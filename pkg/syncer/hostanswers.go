package syncer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// maxAnswer is how much is read of an answer that is not an object, in bytes.
const maxAnswer = 4 << 10

// AnswerOnce returns a copy of config whose clients return each error of the host at once. Otherwise
// client-go repeats a request up to ten times, and sleeps in between as long as the host asks for. A
// caller with a timeout of its own would get that instead of the answer, and a worker would be blocked.
// The error has the time that the host asks for.
func AnswerOnce(config *rest.Config) *rest.Config {
	return wrapAnswers(config, func(context.Context, time.Duration) bool { return false })
}

// AnswerInTime returns a copy of config whose clients repeat requests as client-go does, but never beyond
// the end of their context. If the host asks to wait longer than that, they return its error.
func AnswerInTime(config *rest.Config) *rest.Config {
	return wrapAnswers(config, func(ctx context.Context, wait time.Duration) bool {
		end, limited := ctx.Deadline()
		return !limited || time.Until(end) > wait //nolint:forbidigo // The deadline of a context is real time.
	})
}

func wrapAnswers(config *rest.Config, mayRepeat func(ctx context.Context, wait time.Duration) bool) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &answerTransport{next, mayRepeat} })
	return config
}

// answerTransport prevents client-go from repeating requests that mayRepeat does not allow to repeat. It
// does not pass the page of a proxy for an answer of the API server.
type answerTransport struct {
	next      http.RoundTripper
	mayRepeat func(ctx context.Context, wait time.Duration) bool
}

// WrappedRoundTripper returns the wrapped transport. The node proxy finds the TLS settings for its
// streams there.
func (t *answerTransport) WrappedRoundTripper() http.RoundTripper { return t.next }

// RoundTrip implements http.RoundTripper.
func (t *answerTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := checkPage(request)(t.next.RoundTrip(request))
	if err != nil {
		if isRepeated(request, err) && !t.mayRepeat(request.Context(), time.Second) {
			err = &finalError{err}
		}
		return response, err
	}
	wait, ok := waitOf(response)
	if ok && !t.mayRepeat(request.Context(), wait) {
		return withoutRetry(response, wait)
	}
	return response, nil
}

// checkPage returns a function that replaces the answer to a request by an error if no API server has sent
// it. A proxy in front of a host that is down may answer 404 with a page of its own. That must not pass for
// the proof that an object is gone. Only paths that every API server has are checked: others are missing in
// older versions.
func checkPage(request *http.Request) func(response *http.Response, err error) (*http.Response, error) {
	return func(response *http.Response, err error) (*http.Response, error) {
		if err != nil || response.StatusCode != http.StatusNotFound || isObject(response) || !isAlwaysServed(request.URL.Path) {
			return response, err
		}
		_ = response.Body.Close()
		return nil, fmt.Errorf("it answers %s: %w", response.Status, errPage)
	}
}

// errPage is the error of a request that a proxy has answered with a page of its own.
var errPage = errors.New("the page is not of an API server")

// isObject reports whether the body of a response is an object of the API.
func isObject(response *http.Response) bool {
	contentType := response.Header.Get("Content-Type")
	return strings.HasPrefix(contentType, runtime.ContentTypeJSON) || strings.HasPrefix(contentType, runtime.ContentTypeProtobuf)
}

// isAlwaysServed reports whether every API server has the path: what probes request, and objects and lists
// of the core group. Subresources may be missing.
func isAlwaysServed(path string) bool {
	if strings.HasSuffix(path, versionPath) || strings.HasSuffix(path, discoveryPath) {
		return true
	}
	_, rest, isCore := strings.Cut(path, "/api/v1/")
	parts := strings.Split(strings.Trim(rest, "/"), "/")
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	return isCore && len(parts) <= 2
}

// waitOf returns how long the host asks to wait before the request is repeated.
func waitOf(response *http.Response) (wait time.Duration, ok bool) {
	if response.StatusCode != http.StatusTooManyRequests && response.StatusCode < http.StatusInternalServerError {
		return 0, false
	}
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	return time.Duration(seconds) * time.Second, err == nil
}

// withoutRetry returns a response without the header that client-go obeys. An object in the body has
// the time to wait already. A text, which priority and fairness sends, becomes such an object.
func withoutRetry(response *http.Response, wait time.Duration) (*http.Response, error) {
	response.Header.Del("Retry-After")
	if !strings.HasPrefix(response.Header.Get("Content-Type"), "text/") {
		return response, nil
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	_ = response.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("cannot read the answer %s: %w", response.Status, err)
	}
	status := metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Reason: reasonOf(response.StatusCode), Code: int32(response.StatusCode), //nolint:gosec // A status code has three digits.
		Message: strings.TrimSpace(string(text)),
		Details: &metav1.StatusDetails{RetryAfterSeconds: int32(min(wait, time.Hour) / time.Second)}, //nolint:gosec // At most 3600.
	}
	body, err := json.Marshal(status)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the answer %s: %w", response.Status, err)
	}
	response.Header.Set("Content-Type", "application/json")
	response.Header.Del("Content-Length")
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return response, nil
}

// reasonOf returns the reason that API servers give with a status code.
func reasonOf(code int) metav1.StatusReason {
	switch code {
	case http.StatusTooManyRequests:
		return metav1.StatusReasonTooManyRequests
	case http.StatusServiceUnavailable:
		return metav1.StatusReasonServiceUnavailable
	case http.StatusGatewayTimeout:
		return metav1.StatusReasonTimeout
	default:
		return metav1.StatusReasonInternalError
	}
}

// isRepeated reports whether client-go repeats a read after an error, a second later.
func isRepeated(request *http.Request, err error) bool {
	return request.Method == http.MethodGet && (utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err) || utilnet.IsHTTP2ConnectionLost(err))
}

// finalError hides the cause of a failed read from client-go, which recognizes some of them by their
// type or text.
type finalError struct{ cause error }

// Error returns the text without the words that client-go looks for.
func (e *finalError) Error() string {
	return strings.NewReplacer(
		"connection reset by peer", "connection reset",
		"http2: client connection lost", "connection lost",
		"http2: server sent GOAWAY and closed the connection", "server closed the connection",
		"http: can't write HTTP request on broken connection", "connection broken",
		"use of closed network connection", "connection closed",
	).Replace(e.cause.Error())
}

// Is reports whether the cause is target.
func (e *finalError) Is(target error) bool { return errors.Is(e.cause, target) }
