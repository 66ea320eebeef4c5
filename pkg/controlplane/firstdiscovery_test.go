package controlplane

import (
	"net/http"
	"testing"

	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// failingTransport fails each request for discovery from now on.
type failingTransport struct{ fails bool }

func (f *failingTransport) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripperFunc(func(request *http.Request) (*http.Response, error) {
		if f.fails && isDiscovery(request) {
			return &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{}, Body: http.NoBody, Request: request}, nil
		}
		return next.RoundTrip(request)
	})
}

type roundTripperFunc func(*http.Request) (*http.Response, error)

func (f roundTripperFunc) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// TestFirstDiscovery lets discovery fail between the check and the creation of the controllers, which get the answers
// of the check. Afterwards they see the failure.
func TestFirstDiscovery(t *testing.T) {
	t.Parallel()
	server := startReplica(t, newSharedBackend(t), newBundle(t), "10.1.0.1")
	builder := clientBuilder{plane: server.ControlPlane, discovery: newFirstDiscovery()}
	if err := checkDiscovery(builder); err != nil {
		t.Fatal(err)
	}
	transport := &failingTransport{fails: true}
	config := server.ClientConfig("someone", pki.GroupAdmins)
	config.Wrap(transport.wrap)
	failing := kubernetes.NewForConfigOrDie(builder.discovery.wrap(config)).Discovery()
	resources, err := failing.ServerPreferredNamespacedResources()
	if err != nil || len(resources) == 0 {
		t.Errorf("while the controllers are created: %d groups, %v, want those of the check", len(resources), err)
	}
	builder.discovery.end()
	if resources, err := failing.ServerPreferredNamespacedResources(); err == nil {
		t.Errorf("afterwards: got %d groups, want an error", len(resources))
	}
	transport.fails = false
	if resources, err := failing.ServerPreferredNamespacedResources(); err != nil || len(resources) == 0 {
		t.Errorf("later: %d groups, %v", len(resources), err)
	}
}
