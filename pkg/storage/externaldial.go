package storage

import (
	"context"
	"crypto/tls"
	"net"
)

// dial connects to one member and does the TLS handshake, if there is one. gRPC bounds the time without an
// acknowledgement of connections without TLS alone.
func (x *External) dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	dialer := &net.Dialer{Control: limitUnacknowledged}
	if !x.hasTLS() {
		return dialer.DialContext(ctx, "tcp", address)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	config, err := x.TLS.load("store")
	if err != nil {
		return nil, err
	}
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	config.ServerName, config.NextProtos = host, []string{"h2"}
	return (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", address)
}
