package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Listen opens the port of a control plane at host:port.
func Listen(address string) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address) //nolint:forbidigo // it does not wait
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("cannot listen on %s: another process uses the port", address)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", address, err)
	}
	return listener, nil
}
