package storage

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/klog/v2"
)

// minEtcd is the oldest supported release of etcd. Earlier ones do not report the progress of watches.
const minEtcd = "3.5.0"

// answer is what one member has answered.
type answer struct {
	endpoint string
	status   *etcdserverpb.StatusResponse
	err      error
}

// probe checks all members and returns the status of one. It fails if none can be used, or if they belong
// to different clusters.
func (x *External) probe(ctx context.Context) (*etcdserverpb.StatusResponse, error) {
	answers := make([]answer, len(x.Endpoints))
	var asking sync.WaitGroup
	for i, endpoint := range x.Endpoints {
		asking.Go(func() {
			status, err := x.probeMember(ctx, endpoint)
			answers[i] = answer{endpoint, status, err}
		})
	}
	asking.Wait()
	var good, bad []answer
	for _, one := range answers {
		if one.err == nil {
			good = append(good, one)
		} else {
			bad = append(bad, one)
		}
	}
	if len(good) == 0 {
		return nil, joinAnswers(bad)
	}
	for _, one := range good[1:] {
		if first := good[0]; one.status.GetHeader().GetClusterId() != first.status.GetHeader().GetClusterId() {
			return nil, fmt.Errorf("endpoints %s and %s are different etcd clusters. Name the members of one cluster", first.endpoint, one.endpoint)
		}
	}
	for _, one := range bad {
		klog.InfoS("Cannot use a member of the store", "endpoint", one.endpoint, "err", one.err)
	}
	return good[0].status, nil
}

// joinAnswers returns a single-line error. Equal errors of several members appear once.
func joinAnswers(bad []answer) error {
	var endpoints, texts []string
	for _, one := range bad {
		endpoints = append(endpoints, one.endpoint)
		texts = append(texts, fmt.Sprintf("%s: %v", one.endpoint, one.err))
	}
	isOther := func(one answer) bool { return one.err.Error() != bad[0].err.Error() }
	if !slices.ContainsFunc(bad, isOther) {
		return fmt.Errorf("cannot use etcd %s: %w", strings.Join(endpoints, ", "), bad[0].err)
	}
	return fmt.Errorf("cannot use etcd %s", strings.Join(texts, "; "))
}

// probeMember returns the status of one member, or why it cannot be used.
func (x *External) probeMember(ctx context.Context, endpoint string) (*etcdserverpb.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	// gRPC wraps the errors of the dialer into texts.
	conn, err := x.dial(ctx, hostPort(endpoint))
	if err != nil {
		return nil, explainDial(err)
	}
	err = x.greet(ctx, conn)
	_ = conn.Close()
	if err != nil {
		return nil, err
	}
	config := x.clientConfig([]string{endpoint})
	config.MaxUnaryRetries = 1
	client, err := clientv3.New(config)
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }()
	state, err := client.Status(ctx, config.Endpoints[0])
	if err != nil {
		return nil, x.explainCall(err)
	}
	if err := checkVersion(state.Version); err != nil {
		return nil, err
	}
	if state.IsLearner {
		return nil, errors.New("the member is a learner, which serves no requests yet")
	}
	if _, err := client.Get(ctx, x.Prefix+IdentityKey); err != nil {
		return nil, x.explainCall(err)
	}
	return (*etcdserverpb.StatusResponse)(state), nil
}

// greet starts HTTP/2 and reads the first answer of the server. A server rejects a client certificate only
// after the handshake, and gRPC hides that error.
func (x *External) greet(ctx context.Context, conn net.Conn) error {
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	// A server that has refused the client has closed the connection. What it has sent
	// before can still be read.
	_, _ = io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	_ = framer.WriteSettings()
	frame, err := framer.ReadFrame()
	if _, ok := frame.(*http2.SettingsFrame); ok {
		return nil
	}
	var timeout net.Error
	switch {
	case isTLSAlert(err), errors.As(err, &timeout) && timeout.Timeout():
		return explainDial(err)
	case x.hasTLS():
		return errors.New("the server is no etcd. Correct the endpoint")
	}
	return errors.New("the server does not speak etcd without TLS. Correct the endpoint, or use https://")
}

// checkVersion refuses releases of etcd that lack what the API server needs.
func checkVersion(text string) error {
	parsed, err := version.ParseGeneric(text)
	if err != nil {
		return fmt.Errorf("the version %q of etcd is unknown. Use etcd %s or later", text, minEtcd)
	}
	if parsed.LessThan(version.MustParseGeneric(minEtcd)) {
		return fmt.Errorf("etcd %s is too old. Use etcd %s or later", text, minEtcd)
	}
	return nil
}

// explainDial returns what an operator can do about a failed connection.
func explainDial(err error) error {
	var (
		name      *net.DNSError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		timeout   net.Error
	)
	switch {
	case errors.As(err, &name):
		return fmt.Errorf("cannot resolve %s. Correct the endpoint", name.Name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("nothing listens there. Correct the endpoint, or start etcd")
	case errors.As(err, &authority):
		return errors.New("the server's certificate is not signed by the CA in tls.caFile. Use the CA of that etcd")
	case errors.As(err, &host):
		return fmt.Errorf("the server's certificate is not for %s. Use a name that it has", host.Host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return errors.New("the server's certificate has expired or is not valid yet. Renew it")
	case isTLSAlert(err):
		return errors.New("the server refuses the client certificate. Set tls.certFile and tls.keyFile to one that its CA has signed")
	case errors.As(err, &record), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return errors.New("the server does not speak TLS. Correct the endpoint, or turn on TLS in etcd")
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("no answer within %s. Check the address, firewalls and network policies", connectTimeout)
	}
	return err
}

// isTLSAlert reports whether err is a TLS alert of the server. Go has no exported type for it.
func isTLSAlert(err error) bool {
	return err != nil && strings.Contains(err.Error(), "remote error: tls:")
}

// explainCall returns what an operator can do about a failed request on an open connection.
func (x *External) explainCall(err error) error {
	switch {
	case errors.Is(rpctypes.Error(err), rpctypes.ErrUserEmpty), errors.Is(rpctypes.Error(err), rpctypes.ErrInvalidAuthToken):
		return errors.New("etcd wants a user. Set tls.certFile and tls.keyFile to a client certificate whose common name is that user")
	case errors.Is(rpctypes.Error(err), rpctypes.ErrPermissionDenied):
		return fmt.Errorf("the user of the client certificate has no permission. Grant it readwrite on prefix %s", x.Prefix)
	case status.Code(err) == codes.Unimplemented:
		return errors.New("the server is no etcd. Correct the endpoint")
	case errors.Is(err, context.DeadlineExceeded), status.Code(err) == codes.DeadlineExceeded, status.Code(err) == codes.Unavailable:
		return errors.New("etcd does not answer. It may have no leader: check its members")
	}
	return err
}
