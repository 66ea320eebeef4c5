package loopback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
)

// patience is how long a test waits for what should take milliseconds.
const patience = 3 * time.Minute

// serving returns a client of a handler, as the user somebody.
func serving(t *testing.T, handler http.HandlerFunc) (*Server, *http.Client) {
	t.Helper()
	server := NewServer()
	if handler != nil {
		server.Open(handler)
	}
	return server, &http.Client{Transport: server.Transport(Caller{User: &user.DefaultInfo{Name: "somebody"}})}
}

func do(t *testing.T, ctx context.Context, client *http.Client, path string, body io.Reader) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://memory"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Test", "1")
	return client.Do(req)
}

func TestWholeAnswer(t *testing.T) {
	t.Parallel()
	_, client := serving(t, func(w http.ResponseWriter, req *http.Request) {
		who, ok := UserOf(req.Context())
		if !ok || who.GetName() != "somebody" {
			t.Errorf("caller: got %v, %v, want somebody", who, ok)
		}
		if req.RequestURI != "/a?b=c" || req.Host != "memory" || req.Header.Get("X-Test") != "1" {
			t.Errorf("request: got %s at %s with %v", req.RequestURI, req.Host, req.Header)
		}
		req.Header.Del("X-Test") // a server may, and the caller's request must not change
		content, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write(content)
	})
	res, err := do(t, t.Context(), client, "/a?b=c", strings.NewReader("content"))
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(res.Body)
	if err != nil || string(content) != "content" || res.StatusCode != http.StatusTeapot || res.Header.Get("X-Answer") != "yes" {
		t.Errorf("got %d %q with %v, %v", res.StatusCode, content, res.Header, err)
	}
	if res.Request.Header.Get("X-Test") != "1" {
		t.Error("the handler changed the caller's request")
	}
}

func TestHidesTheCallersValues(t *testing.T) {
	t.Parallel()
	type key struct{}
	_, client := serving(t, func(_ http.ResponseWriter, req *http.Request) {
		if req.Context().Value(key{}) != nil {
			t.Error("the handler sees a value of the caller's context")
		}
	})
	if _, err := do(t, context.WithValue(t.Context(), key{}, "secret"), client, "/", nil); err != nil {
		t.Fatal(err)
	}
}

func TestPanicIsAnError(t *testing.T) {
	t.Parallel()
	_, client := serving(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for _, path := range []string{"/", "/?watch=true"} {
		if _, err := do(t, t.Context(), client, path, nil); err == nil {
			t.Errorf("%s: a handler that panics answers", path)
		}
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	next := make(chan string)
	_, client := serving(t, func(w http.ResponseWriter, req *http.Request) {
		w.(http.Flusher).Flush()
		for piece := range next {
			_, _ = io.WriteString(w, piece)
		}
	})
	res, err := do(t, t.Context(), client, "/?watch=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	for _, piece := range []string{"one", "two"} {
		next <- piece
		n, err := res.Body.Read(buf)
		if err != nil || string(buf[:n]) != piece {
			t.Fatalf("got %q, %v, want %q as soon as it is written", buf[:n], err, piece)
		}
	}
	close(next)
	if _, err := res.Body.Read(buf); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: got %v, want EOF", err)
	}
}

func TestStreamEndsWithItsReader(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(context.CancelFunc, *http.Response){
		"Cancel": func(cancel context.CancelFunc, _ *http.Response) { cancel() },
		"Close":  func(_ context.CancelFunc, res *http.Response) { _ = res.Body.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan error, 1)
			_, client := serving(t, func(w http.ResponseWriter, req *http.Request) {
				w.(http.Flusher).Flush()
				<-req.Context().Done()
				// The stream ends a moment after its context.
				var err error
				for deadline := time.Now().Add(patience); err == nil && time.Now().Before(deadline); {
					_, err = w.Write(nil)
				}
				ended <- err
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			res, err := do(t, ctx, client, "/?watch=true", nil)
			if err != nil {
				t.Fatal(err)
			}
			end(cancel, res)
			select {
			case err := <-ended:
				if err == nil {
					t.Error("the handler can write after its reader has gone")
				}
			case <-time.After(patience):
				t.Error("the handler goes on without a reader")
			}
			if _, err := res.Body.Read(make([]byte, 1)); err == nil {
				t.Error("the reader reads on")
			}
		})
	}
}

func TestStreamWaitsForASlowReader(t *testing.T) {
	t.Parallel()
	const pieces = 100
	piece := bytes.Repeat([]byte("x"), 16<<10)
	written := make(chan int, 1)
	_, client := serving(t, func(w http.ResponseWriter, _ *http.Request) {
		total := 0
		for range pieces {
			n, err := w.Write(piece)
			if err != nil {
				t.Error(err)
			}
			total += n
			select {
			case <-written:
			default:
			}
			written <- total
		}
	})
	res, err := do(t, t.Context(), client, "/?watch=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if first := <-written; first > streamBuffer+2*len(piece) {
		t.Errorf("nobody has read yet, and %d bytes are written", first)
	}
	content, err := io.ReadAll(res.Body)
	if err != nil || len(content) != pieces*len(piece) {
		t.Errorf("got %d bytes, %v, want %d", len(content), err, pieces*len(piece))
	}
}

func TestWaitsForTheServer(t *testing.T) {
	t.Parallel()
	server, client := serving(t, nil)
	answered := make(chan error, 1)
	go func() {
		res, err := do(t, t.Context(), client, "/", nil)
		if err == nil && res.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d", res.StatusCode)
		}
		answered <- err
	}()
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := do(t, short, client, "/", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a caller that does not wait as long: got %v, want its own deadline", err)
	}
	server.Open(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	if err := <-answered; err != nil {
		t.Errorf("a request that came before the server: %v", err)
	}
	server.Close()
	if _, err := do(t, t.Context(), client, "/", nil); !errors.Is(err, errNotServing) {
		t.Errorf("after the end: got %v, want %v", err, errNotServing)
	}
}

func TestNeverOpened(t *testing.T) {
	t.Parallel()
	server, client := serving(t, nil)
	server.Close()
	if _, err := do(t, t.Context(), client, "/", nil); !errors.Is(err, errNotServing) {
		t.Errorf("got %v, want %v", err, errNotServing)
	}
}
