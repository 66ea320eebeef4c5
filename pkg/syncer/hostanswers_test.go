package syncer

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
)

// TestAnswerOnce sends reads and writes to a host that asks to come back, in each way that API servers have.
func TestAnswerOnce(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		code        int
		contentType string
		body        string
		want        func(error) bool
		message     string
	}{
		"PriorityAndFairness": {
			code: http.StatusTooManyRequests, contentType: "text/plain; charset=utf-8", body: "Too many requests, please try again later.\n",
			want: apierrors.IsTooManyRequests, message: "Too many requests",
		},
		"Status": {
			code: http.StatusServiceUnavailable, contentType: "application/json",
			body: `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"ServiceUnavailable","message":"etcd has no leader","code":503,"details":{"retryAfterSeconds":70}}`,
			want: apierrors.IsServiceUnavailable, message: "etcd has no leader",
		},
		"Balancer": {
			code: http.StatusBadGateway, contentType: "text/html", body: "<h1>no upstream</h1>",
			want: apierrors.IsInternalError, message: "no upstream",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var reached atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				reached.Add(1)
				w.Header().Set("Retry-After", "70")
				w.Header().Set("Content-Type", tc.contentType)
				w.WriteHeader(tc.code)
				_, _ = io.WriteString(w, tc.body)
			}))
			t.Cleanup(server.Close)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			config := &rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeProtobuf}}
			for mode, config := range map[string]*rest.Config{"once": AnswerOnce(config), "in time": AnswerInTime(config)} {
				client, err := kubernetes.NewForConfig(config)
				if err != nil {
					t.Fatal(err)
				}
				reached.Store(0)
				_, err = client.CoreV1().Pods("web").Get(ctx, "cart", metav1.GetOptions{})
				if !tc.want(err) || !strings.Contains(err.Error(), tc.message) {
					t.Errorf("%s: the error must be the host's, got %v", mode, err)
				}
				if seconds, ok := apierrors.SuggestsClientDelay(err); !ok || seconds != 70 {
					t.Errorf("%s: the error must have the time that the host asks for, got %d", mode, seconds)
				}
				if got := reached.Load(); got != 1 {
					t.Errorf("%s: client-go must not repeat the request, it was sent %d times", mode, got)
				}
			}
		})
	}
}

// TestAnswerInTime repeats a request whose context lasts long enough.
func TestAnswerInTime(t *testing.T) {
	t.Parallel()
	var reached atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if reached.Add(1) == 1 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"kind":"Pod","apiVersion":"v1"}`)
	}))
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(AnswerInTime(&rest.Config{Host: server.URL}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Pods("web").Get(t.Context(), "cart", metav1.GetOptions{}); err != nil || reached.Load() != 2 {
		t.Errorf("A request with time must be repeated, got %v after %d requests", err, reached.Load())
	}
}

// TestLostConnectionFailsAtOnce reads while the host resets connections. client-go would repeat each read ten
// times, a second apart, also behind a tripped breaker.
func TestLostConnectionFailsAtOnce(t *testing.T) {
	t.Parallel()
	for name, cause := range map[string]error{
		"Reset":  syscall.ECONNRESET,
		"EOF":    io.EOF,
		"HTTP2":  errors.New("http2: client connection lost"),
		"GoAway": errors.New("http2: server sent GOAWAY and closed the connection; LastStreamID=1"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Its clock does not run, so that each request waits until the breaker has decided.
			breaker := newHostBreaker(clocktesting.NewFakeClock(testStart()), silent(), t.Context().Done())
			var reached atomic.Int32
			host := &rest.Config{Host: "http://host.test", Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				if r.URL.Path != "/version" {
					reached.Add(1)
				}
				return nil, cause
			})}
			client, err := kubernetes.NewForConfig(breaker.wrap(host, failFast))
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			for range 3 {
				if _, err = client.CoreV1().Pods("web").Get(t.Context(), "cart", metav1.GetOptions{}); err == nil {
					t.Fatal("A lost connection must be an error")
				}
			}
			if !errors.Is(err, errUnreachable) {
				t.Errorf("The error must say that the host is unreachable, got %v", err)
			}
			if took := time.Since(begin); reached.Load() != 1 || took >= 30*time.Second { // client-go would take 10 s for each.
				t.Errorf("Reads must fail at once, %d were sent in %s", reached.Load(), took)
			}
		})
	}
}

// TestPageOfAProxy lets a proxy answer 404 with a page while the host is down. That proves nothing.
func TestPageOfAProxy(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case down.Load() || strings.HasSuffix(r.URL.Path, "/resize") || strings.HasPrefix(r.URL.Path, "/apis/resource.k8s.io/"):
			http.NotFound(w, r)
		case r.URL.Path == "/version":
			_, _ = io.WriteString(w, "{}")
		default:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
		}
	}))
	t.Cleanup(server.Close)
	breaker := newBreakerBench(t).breaker
	client, err := kubernetes.NewForConfig(breaker.wrap(&rest.Config{Host: server.URL}, failFast))
	if err != nil {
		t.Fatal(err)
	}
	get := func() error {
		_, err := client.CoreV1().Pods("web").Get(t.Context(), "cart", metav1.GetOptions{})
		return err
	}
	if err := get(); !apierrors.IsNotFound(err) {
		t.Errorf("An API server decides that an object is gone, got %v", err)
	}
	patch := []byte("{}")
	if _, err := client.CoreV1().Pods("web").Patch(t.Context(), "cart", types.MergePatchType, patch, metav1.PatchOptions{}, "resize"); !apierrors.IsNotFound(err) {
		t.Errorf("An older API server has no such subresource, got %v", err)
	}
	if _, err := client.ResourceV1().ResourceClaims("web").Get(t.Context(), "cart", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("An older API server has no such group, got %v", err)
	}
	if cause := breaker.tripCause(); cause != nil {
		t.Fatalf("The host is there, but the breaker has tripped: %v", cause)
	}
	down.Store(true)
	if err := get(); err == nil || apierrors.IsNotFound(err) {
		t.Errorf("A proxy cannot know whether an object is gone, got %v", err)
	}
	breaker.awaitDecision()
	if breaker.tripCause() == nil {
		t.Error("A proxy without a host behind it must trip the breaker")
	}
	down.Store(false)
	breaker.awaitReset(t)
	if err := get(); !apierrors.IsNotFound(err) {
		t.Errorf("The API server answers again, got %v", err)
	}
}

// awaitReset waits until the breaker is not tripped.
func (b *hostBreaker) awaitReset(t *testing.T) {
	t.Helper()
	reset, _ := b.state()
	select {
	case <-reset:
	case <-time.After(time.Minute):
		t.Fatal("The breaker must be reset when the host is back")
	}
}
