package nodeproxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
)

// host sends requests for pod subresources to the host's API server.
type host struct {
	base *url.URL
	// transport sends whole requests, with our credentials.
	transport http.RoundTripper
	// credentials is a transport that sends nothing: it adds our credentials to a
	// request and returns the request in the response.
	credentials http.RoundTripper
}

// newHost creates a client of the host's API server.
func newHost(config *rest.Config) (*host, error) {
	config = rest.CopyConfig(config)
	if config.UserAgent == "" {
		config.UserAgent = rest.DefaultKubernetesUserAgent()
	}
	config.UserAgent += "/node-proxy"
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	// A client of HTTP/2 keeps up to 4 MiB of each log that the tenant does not read. With HTTP/1.1, the log waits at
	// the host.
	config.NextProtos = []string{"http/1.1"}
	roundTripper, err := rest.TransportFor(config)
	if err != nil {
		return nil, err
	}
	transportConfig, err := config.TransportConfig()
	if err != nil {
		return nil, err
	}
	credentials, err := transport.HTTPWrappersForConfig(transportConfig, proxy.MirrorRequest)
	if err != nil {
		return nil, err
	}
	return &host{base: base, transport: roundTripper, credentials: credentials}, nil
}

// subresourceURL returns the address of a subresource of a host pod.
func (h *host) subresourceURL(pod types.NamespacedName, subresource string, query url.Values) *url.URL {
	u := *h.base
	u.Path = strings.TrimSuffix(u.Path, "/") +
		"/api/v1/namespaces/" + pod.Namespace + "/pods/" + pod.Name + "/" + subresource
	u.RawQuery = query.Encode()
	return &u
}

// get sends a GET request with our credentials.
func (h *host) get(ctx context.Context, u *url.URL) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	return h.transport.RoundTrip(request)
}

// upgrade opens a new connection and sends the request with our credentials. It
// returns the connection, and the request that http.ReadResponse needs.
func (h *host) upgrade(ctx context.Context, method string, u *url.URL, header http.Header) (net.Conn, *http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, nil, err
	}
	request.Header = header
	mirrored, err := h.credentials.RoundTrip(request) //nolint:bodyclose // nothing was sent, there is no body
	if err != nil {
		return nil, nil, fmt.Errorf("cannot get credentials for the host cluster: %w", err)
	}
	conn, err := proxy.DialURL(ctx, u, h.transport)
	if err != nil {
		return nil, nil, err
	}
	if err := mirrored.Request.Write(conn); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, mirrored.Request, nil
}

// livePods reads host pods from the host's API, metadata only.
type livePods struct {
	client metadata.Interface
}

// newLivePods creates a reader of host pods.
func newLivePods(config *rest.Config) (livePods, error) {
	config = rest.CopyConfig(config)
	// Each read belongs to one request of a tenant, which the virtual API server has
	// limited already.
	config.QPS = -1
	client, err := metadata.NewForConfig(config)
	return livePods{client: client}, err
}

// HostPod implements [HostPods].
func (l livePods) HostPod(ctx context.Context, key types.NamespacedName) (metav1.Object, error) {
	return l.client.Resource(corev1.SchemeGroupVersion.WithResource("pods")).
		Namespace(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
}
