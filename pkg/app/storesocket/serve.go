// Package storesocket gives other processes in the same container access to the store of the
// server. It uses a Unix socket that only the user of the server can open.
package storesocket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

const (
	// firstPause is the pause after the first accept that has failed. It doubles up to lastPause.
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
)

// Serve forwards connections on the socket to the store until ctx ends.
func Serve(ctx context.Context, path string, dial func(context.Context) (net.Conn, error)) error {
	listener, err := listenPrivately(ctx, path)
	if err != nil {
		return err
	}
	forwardAll(ctx, listener, dial)
	return nil
}

// listenPrivately returns a listener on a socket that only this user can open. The socket is
// renamed to path after its permissions are set.
func listenPrivately(ctx context.Context, path string) (net.Listener, error) {
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot remove the socket of before: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", temp)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	err = os.Chmod(temp, 0o600)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot listen on %s: %w", path, err), listener.Close())
	}
	return listener, nil
}

// forwardAll forwards accepted connections to the store until ctx ends. It retries when no connection
// can be accepted, as while the process has too many open files. The listener stays open then, so that
// clients would wait forever.
func forwardAll(ctx context.Context, listener net.Listener, dial func(context.Context) (net.Conn, error)) {
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	var open sync.WaitGroup
	defer open.Wait()
	pause := time.Duration(0)
	for {
		incoming, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			pause = min(max(2*pause, firstPause), lastPause)
			klog.InfoS("Cannot accept a connection of a command, retrying", "err", err, "pause", pause)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		}
		pause = 0
		open.Go(func() {
			defer func() { _ = incoming.Close() }()
			outgoing, err := dial(ctx)
			if err != nil {
				klog.InfoS("Cannot reach the store for a command", "err", err)
				return
			}
			defer func() { _ = outgoing.Close() }()
			forward(ctx, incoming, outgoing)
		})
	}
}

// forward copies data in both directions until one side closes or ctx ends.
func forward(ctx context.Context, a, b net.Conn) {
	ctx, done := context.WithCancel(ctx)
	defer done()
	stop := context.AfterFunc(ctx, func() {
		_ = a.Close()
		_ = b.Close()
	})
	defer stop()
	var copying sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		copying.Go(func() {
			defer done()
			_, _ = io.Copy(pair[0], pair[1])
		})
	}
	copying.Wait()
}
