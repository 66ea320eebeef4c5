package operator

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
)

// failingListener fails to accept with the given errors, and then accepts what is in the queue.
type failingListener struct {
	*queue

	failures []error
}

// Accept implements net.Listener.
func (l *failingListener) Accept() (net.Conn, error) {
	if len(l.failures) == 0 {
		return l.queue.Accept()
	}
	err := l.failures[0]
	l.failures = l.failures[1:]
	return nil, &net.OpError{Op: "accept", Net: "tcp", Err: err}
}

// TestSplitFails accepts connections after the process could not do so for a while, and ends with an error that does
// not pass. Time is simulated.
func TestSplitFails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason   string
		failures []error
		want     error
	}{
		"Files":  {"Too many open files pass.", []error{syscall.EMFILE, syscall.ENFILE, syscall.EMFILE, syscall.ECONNABORTED}, nil},
		"Socket": {"A broken socket does not pass.", []error{syscall.EMFILE, syscall.EINVAL}, syscall.EINVAL},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				listener := &failingListener{newQueue(nil), tc.failures}
				secure, plain := newQueue(nil), newQueue(nil)
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				done := make(chan error, 1)
				go func() { done <- split(ctx, listener, secure, plain) }()
				if tc.want == nil {
					client, server := net.Pipe()
					listener.push(server)
					if _, err := client.Write([]byte("G")); err != nil {
						t.Error(err)
					}
					conn, err := plain.Accept()
					if err != nil {
						t.Fatalf("%s Got %v", tc.reason, err)
					}
					_ = conn.Close()
					listener.closeOnce()
				}
				if err := <-done; !errors.Is(err, tc.want) {
					t.Errorf("%s Got %v, want %v", tc.reason, err, tc.want)
				}
			})
		})
	}
}
