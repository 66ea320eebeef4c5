package nodeproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// newConnection returns the two ends of a connection in memory.
func newConnection(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l := newMemoryListener()
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, _ := l.Accept()
		accepted <- conn
	}()
	client, err := l.dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return client, <-accepted
}

// TestMemoryConnCarries writes and reads in pieces of any size, around the end
// of the ring and beyond what it holds.
func TestMemoryConnCarries(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		pieces := rapid.SliceOf(rapid.IntRange(0, 3*connectionBuffer)).Draw(rt, "pieces")
		readSize := rapid.IntRange(1, 2*connectionBuffer).Draw(rt, "readSize")
		client, server := newConnection(t)
		var want bytes.Buffer
		var sent [][]byte
		for i, size := range pieces {
			piece := bytes.Repeat([]byte{byte(i + 1)}, size)
			for j := range piece {
				piece[j] += byte(j)
			}
			sent = append(sent, piece)
			want.Write(piece)
		}
		go func() {
			for _, piece := range sent {
				_, _ = client.Write(piece)
			}
			_ = client.Close()
		}()
		var got bytes.Buffer
		buffer := make([]byte, readSize)
		for {
			n, err := server.Read(buffer)
			got.Write(buffer[:n])
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				rt.Fatalf("Read(...): %v", err)
			}
		}
		if !bytes.Equal(want.Bytes(), got.Bytes()) {
			rt.Fatalf("want %d bytes as they were written, got %d others", want.Len(), got.Len())
		}
	})
}

func TestMemoryConnFails(t *testing.T) {
	t.Parallel()
	full := make([]byte, connectionBuffer+1)
	cases := map[string]struct {
		reason string
		do     func(client, server net.Conn) error
		want   error
	}{
		"ReadAfterOwnClose": {
			reason: "a reader is woken when its own end closes",
			do: func(client, _ net.Conn) error {
				time.AfterFunc(time.Millisecond, func() { _ = client.Close() })
				_, err := client.Read(make([]byte, 1))
				return err
			},
			want: net.ErrClosed,
		},
		"ReadAfterOtherClose": {
			reason: "the other end said all it had to say",
			do: func(client, server net.Conn) error {
				time.AfterFunc(time.Millisecond, func() { _ = server.Close() })
				_, err := client.Read(make([]byte, 1))
				return err
			},
			want: io.EOF,
		},
		"WriteToClosed": {
			reason: "a writer that waits for room is woken when nobody reads any more",
			do: func(client, server net.Conn) error {
				time.AfterFunc(time.Millisecond, func() { _ = server.Close() })
				_, err := client.Write(full)
				return err
			},
			want: net.ErrClosed,
		},
		"ReadDeadline": {
			reason: "a reader gives up in time",
			do: func(client, _ net.Conn) error {
				_ = client.SetReadDeadline(time.Now().Add(time.Millisecond))
				_, err := client.Read(make([]byte, 1))
				return err
			},
			want: os.ErrDeadlineExceeded,
		},
		"WriteDeadline": {
			reason: "a writer gives up in time",
			do: func(client, _ net.Conn) error {
				_ = client.SetDeadline(time.Now().Add(time.Millisecond))
				_, err := client.Write(full)
				return err
			},
			want: os.ErrDeadlineExceeded,
		},
		"DeadlineOver": {
			reason: "a deadline in the past wakes a reader at once, as the HTTP server needs it",
			do: func(client, _ net.Conn) error {
				time.AfterFunc(time.Millisecond, func() { _ = client.SetReadDeadline(time.Unix(1, 0)) })
				_, err := client.Read(make([]byte, 1))
				return err
			},
			want: os.ErrDeadlineExceeded,
		},
		"DeadlineTakenBack": {
			reason: "after a deadline was taken back the connection is as good as before",
			do: func(client, server net.Conn) error {
				_ = client.SetReadDeadline(time.Unix(1, 0))
				_ = client.SetReadDeadline(time.Time{})
				_, _ = server.Write([]byte("x"))
				_, err := client.Read(make([]byte, 1))
				return err
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, server := newConnection(t)
			if err := tc.do(client, server); !errors.Is(err, tc.want) {
				t.Errorf("%s\nwant %v, got %v", tc.reason, tc.want, err)
			}
		})
	}
}

func TestMemoryDialGivesUp(t *testing.T) {
	t.Parallel()
	l := newMemoryListener()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.dial(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody accepts and the caller gives up: want %v, got %v", context.Canceled, err)
	}
	_ = l.Close()
	_ = l.Close()
	if _, err := l.dial(t.Context()); !errors.Is(err, errListenerClosed) {
		t.Errorf("the listener is closed: want %v, got %v", errListenerClosed, err)
	}
}
