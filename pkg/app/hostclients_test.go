package app

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// fakeHolder is a replica that may write or lead, unless there is an error.
type fakeHolder struct{ mayWrite, mayLead error }

func (h *fakeHolder) MayWrite() error { return h.mayWrite }
func (h *fakeHolder) MayLead() error  { return errors.Join(h.mayWrite, h.mayLead) }
func (h *fakeHolder) Term() string    { return "shop-0/1" }

// hostWay is a way to the API server of the host, and what it lets pass.
type hostWay struct {
	client    any // a clientset or a *rest.Config
	reason    string
	unproven  bool // passes writes of a replica that is not the holder
	follower  bool // passes writes of a holder that does not lead
	hostFirst bool // passes host-first writes of a holder that does not lead
	unlimited bool // does not wait for the limit
}

// hostWays returns all ways to the host, by the names of their fields.
func hostWays(claims *hostClaims, clients *hostClients) map[string]hostWay {
	return map[string]hostWay{
		"claims": {
			client: claims.claims, unproven: true, follower: true, hostFirst: true, unlimited: true,
			reason: "It proves the holder, and must see a successor at once.",
		},
		"reports": {
			client: claims.reports, unproven: true, follower: true, hostFirst: true, unlimited: true,
			reason: "It reports why a replica is not the holder.",
		},
		"ownClient": {
			client: clients.ownClient, follower: true, hostFirst: true, unlimited: true,
			reason: "No request of a tenant triggers one of the release's own objects.",
		},
		"tenantClient": {
			client: clients.tenantClient, follower: true, hostFirst: true,
			reason: "A follower answers tenants too.",
		},
		"host":       {client: clients.host, follower: true, hostFirst: true, reason: "The node proxy runs on each replica."},
		"leaderHost": {client: clients.leaderHost, hostFirst: true, reason: "Leader parts and the engines of standbys use it."},
	}
}

// transport returns the transport of the client.
func (w hostWay) transport(t *testing.T) http.RoundTripper {
	t.Helper()
	switch client := w.client.(type) {
	case kubernetes.Interface:
		return client.CoreV1().RESTClient().(*rest.RESTClient).Client.Transport //nolint:forcetypeassert // It is no fake.
	case *rest.Config:
		transport, err := rest.TransportFor(client)
		if err != nil {
			t.Fatal(err)
		}
		return transport
	default:
		t.Fatalf("%T is no client", client)
		return nil
	}
}

// send sends a write and returns the status code of the answer.
func (w hostWay) send(ctx context.Context, t *testing.T, url string) (int, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/v1/namespaces/tenant/configmaps", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	response, err := w.transport(t).RoundTrip(request)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode, response.Body.Close()
}

// hostWorld is a host and all ways to it.
type hostWorld struct {
	url     string
	reached atomic.Int32 // requests
	holder  fakeHolder
	ways    map[string]hostWay
	fields  []string
}

// burst is how many requests pass the limit.
const burst = 100

// newHostWorld returns a host with the clients of a replica. The clock of the limit does not move.
func newHostWorld(t *testing.T) *hostWorld {
	t.Helper()
	w := &hostWorld{}
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { w.reached.Add(1) }))
	t.Cleanup(server.Close)
	w.url = server.URL
	claims, err := newHostClaims(syncer.AnswerInTime(&rest.Config{Host: server.URL, QPS: -1}))
	if err != nil {
		t.Fatal(err)
	}
	limits := syncer.HostLimits{RequestsPerSecond: 1, Burst: burst}
	clients, err := claims.open(&w.holder, syncer.NewHostLimiter(limits, clocktesting.NewFakeClock(time.Unix(0, 0))))
	if err != nil {
		t.Fatal(err)
	}
	w.ways = hostWays(claims, clients)
	for _, of := range []reflect.Type{reflect.TypeFor[hostClaims](), reflect.TypeFor[hostClients]()} {
		for field := range of.Fields() {
			if field.Name != "config" { // Everything else is built from it.
				w.fields = append(w.fields, field.Name)
			}
		}
	}
	return w
}

// TestHostClientsHaveARow names each client of the host with its fence and its limit.
func TestHostClientsHaveARow(t *testing.T) {
	t.Parallel()
	w := newHostWorld(t)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(w.ways)), slices.Sorted(slices.Values(w.fields))); diff != "" {
		t.Errorf("clients of the host (-table +fields):\n%s", diff)
	}
}

// TestHostClientsFence sends writes of a replica without proof, of a follower and of the leader.
func TestHostClientsFence(t *testing.T) {
	t.Parallel()
	w := newHostWorld(t)
	for name, way := range w.ways {
		for _, tt := range []struct {
			writer string
			holder fakeHolder
			first  bool
			want   bool
		}{
			{"a replica without proof", fakeHolder{mayWrite: host.ErrNotProven}, false, way.unproven},
			{"a replica without proof, host-first", fakeHolder{mayWrite: host.ErrNotProven}, true, way.unproven},
			{"a follower", fakeHolder{mayLead: host.ErrNotLeading}, false, way.follower},
			{"a follower, host-first", fakeHolder{mayLead: host.ErrNotLeading}, true, way.hostFirst},
			{"the leader", fakeHolder{}, false, true},
		} {
			w.holder = tt.holder
			ctx, before := t.Context(), w.reached.Load()
			if tt.first {
				ctx = host.WithHostFirst(ctx)
			}
			code, err := way.send(ctx, t, w.url)
			passed := w.reached.Load() > before
			if err != nil || passed != tt.want || passed != (code == http.StatusOK) {
				t.Errorf("%s: a write of %s passes: %t, want %t. %s Code %d, %v", name, tt.writer, passed, tt.want, way.reason, code, err)
			}
		}
	}
}

// TestHostClientsLimit sends requests of all clients when the burst of the limit is used up.
func TestHostClientsLimit(t *testing.T) {
	t.Parallel()
	w := newHostWorld(t)
	for range burst {
		if _, err := w.ways["host"].send(t.Context(), t, w.url); err != nil {
			t.Fatal(err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel() // A request that waits fails with the reason.
	for name, way := range w.ways {
		_, err := way.send(ended, t, w.url)
		waited := err != nil && strings.Contains(err.Error(), "within the host limits")
		if waited == way.unlimited {
			t.Errorf("%s waits for the limit: %t, want %t. %s %v", name, waited, !way.unlimited, way.reason, err)
		}
	}
}

// TestHostConfigs finds all functions that build a config of the host. Only connectHost builds one for the server.
// It passes it to the clients of [TestHostClients].
func TestHostConfigs(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var builders []string
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), entry.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(function, func(node ast.Node) bool {
				if name, ok := node.(*ast.Ident); ok && node != function.Name &&
					slices.Contains([]string{"hostConfig", "InClusterConfig", "BuildConfigFromFlags"}, name.Name) {
					builders = append(builders, entry.Name()+" "+function.Name.Name)
				}
				return true
			})
		}
	}
	want := []string{
		"app.go connectHost",
		"certs.go run", // a command of the operator
		"hostclients.go hostConfig",
		"hostclients.go hostConfig",
		"storecommand.go findAnchor", // a command of the operator
	}
	if diff := cmp.Diff(want, builders); diff != "" {
		t.Errorf("configs of the host (-want +got):\n%s", diff)
	}
}
