package kubeletmetrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
)

// maxRead is how much is read of one answer of a kubelet, in bytes.
const maxRead = 128 << 20

// errTooLarge is returned for an answer that is larger than maxRead.
var errTooLarge = errors.New("the answer is too large")

// statusError is an answer of a kubelet other than 200.
type statusError struct{ code int }

// Error implements error.
func (e *statusError) Error() string { return "kubelet answered " + strconv.Itoa(e.code) }

// kubelets sends requests to the kubelets of the host.
type kubelets struct {
	client *http.Client
	node   func(ctx context.Context, name string) (*corev1.Node, error)
}

// newKubelets creates a client with the credentials for the host's API server. Without
// insecure, a kubelet needs a certificate of the authority that the API server has.
func newKubelets(host *rest.Config, insecure bool, node func(context.Context, string) (*corev1.Node, error)) (*kubelets, error) {
	config := rest.AnonymousClientConfig(host)
	config.BearerToken, config.BearerTokenFile = host.BearerToken, host.BearerTokenFile
	config.CertFile, config.KeyFile, config.CertData, config.KeyData = host.CertFile, host.KeyFile, host.CertData, host.KeyData
	config.ServerName = ""
	if insecure {
		config.TLSClientConfig.Insecure = true
		config.CAFile, config.CAData = "", nil
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, fmt.Errorf("cannot create client of kubelets: %w", err)
	}
	return &kubelets{node: node, client: &http.Client{
		Transport: transport,
		// The token is for the kubelet alone.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// get requests metrics. The caller closes the body.
func (k *kubelets) get(ctx context.Context, q query) (*http.Response, error) {
	node, err := k.node(ctx, q.node)
	if err != nil {
		return nil, fmt.Errorf("cannot get node %s of the host: %w", q.node, err)
	}
	address, ok := addressOf(node)
	if !ok {
		return nil, fmt.Errorf("cannot find address of node %s", q.node)
	}
	u := url.URL{Scheme: "https", Host: net.JoinHostPort(address, strconv.Itoa(portOf(node))), Path: "/" + q.path}
	if q.onlyUsage {
		u.RawQuery = onlyUsage + "=true"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	// Scrapes are seconds apart.
	request.Close = true
	if q.path != summaryPath {
		request.Header.Set("Accept", acceptedTypes)
	}
	response, err := k.client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, &statusError{response.StatusCode}
	}
	return response, nil
}

// addressOf returns the address of the kubelet of a host node.
func addressOf(node *corev1.Node) (string, bool) {
	for _, sort := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeInternalDNS, corev1.NodeHostName} {
		for _, address := range node.Status.Addresses {
			if address.Type == sort && address.Address != "" {
				return address.Address, true
			}
		}
	}
	return "", false
}

// boundedReader fails once more than left was read.
type boundedReader struct {
	reader io.Reader
	left   int
}

// Read implements io.Reader.
func (b *boundedReader) Read(buffer []byte) (int, error) {
	n, err := b.reader.Read(buffer)
	if b.left -= n; b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}
