package nameserver

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/release"
)

// patience bounds every wait. No test waits until it is over.
const patience = time.Minute

// start runs a server, which stops when the test ends.
func start(t *testing.T, options Options) *Server {
	t.Helper()
	options.Address, options.HealthAddress = "127.0.0.1:0", "127.0.0.1:0"
	options.Networking = v1alpha1.Default().Networking
	options.ResolvConf = filepath.Join(t.TempDir(), "none")
	s, err := New(t.Context(), options)
	if err != nil {
		t.Fatalf("New(...): %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run(...): %v", err)
		}
	})
	return s
}

// probe asks a health endpoint, and returns the status.
func probe(t *testing.T, s *Server, path string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.health.Addr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// awaitReady waits until the server is ready.
func awaitReady(t *testing.T, s *Server) {
	t.Helper()
	deadline := time.After(patience)
	for probe(t, s, "/readyz") != http.StatusOK {
		select {
		case <-deadline:
			t.Fatalf("not ready after %s", patience)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// lookup returns the code and the address of a name.
func lookup(t *testing.T, s *Server, name string) [2]string {
	t.Helper()
	query := new(dns.Msg)
	query.SetQuestion(name, dns.TypeA)
	reply, _, err := (&dns.Client{Timeout: patience}).Exchange(query, s.dns.Addr())
	if err != nil {
		t.Fatal(err)
	}
	got := [2]string{dns.RcodeToString[reply.Rcode]}
	for _, record := range reply.Answer {
		if a, ok := record.(*dns.A); ok {
			got[1] = a.A.String()
		}
	}
	return got
}

func TestAnswersWithoutControlPlane(t *testing.T) {
	t.Parallel()
	api, dir := newVirtualAPI(t)
	s := start(t, Options{Server: api.server.URL, CredentialDir: dir})
	awaitReady(t, s)
	const name = "web.shop.svc.cluster.local."
	want := [2]string{"NOERROR", "10.96.3.4"}
	if got := lookup(t, s, name); got != want {
		t.Fatalf("want %v, got %v", want, got)
	}
	api.stop()
	for range 100 {
		if got := lookup(t, s, name); got != want {
			t.Fatalf("the API server is gone: want %v, got %v", want, got)
		}
	}
	if got := lookup(t, s, "other.shop.svc.cluster.local."); got[0] != "NXDOMAIN" {
		t.Errorf("a name that did not exist: want NXDOMAIN, got %v", got)
	}
	if got := probe(t, s, "/readyz"); got != http.StatusOK {
		t.Errorf("the Service would lead nowhere: /readyz answers %d", got)
	}
}

func TestIsNotReadyBeforeItKnows(t *testing.T) {
	t.Parallel()
	api, dir := newVirtualAPI(t)
	api.stop()
	s := start(t, Options{Server: api.server.URL, CredentialDir: dir})
	if got := probe(t, s, "/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("/readyz answers %d before anything is known", got)
	}
	if got := probe(t, s, "/livez"); got != http.StatusOK {
		t.Errorf("/livez answers %d: a restart would not help", got)
	}
	if got := lookup(t, s, "web.shop.svc.cluster.local."); got[0] != "SERVFAIL" {
		t.Errorf("a name must not be denied before all are known: got %v", got)
	}
}

func TestRefusesRanges(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason, file, content, want string
	}{
		"NoRange":  {"the range of the host's Services is part of the Secret", release.DNSServiceRangesKey, "", "cannot use the IP ranges of Services"},
		"BadRange": {"names of the host would not be hidden", release.DNSServiceRangesKey, "all", "cannot use the IP ranges of Services"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api, dir := newVirtualAPI(t)
			if err := os.WriteFile(filepath.Join(dir, tc.file), []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := New(t.Context(), Options{Server: api.server.URL, CredentialDir: dir, Address: "127.0.0.1:0", HealthAddress: "127.0.0.1:0"})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: want an error with %q, got %v", tc.reason, tc.want, err)
			}
		})
	}
}

func TestOnlyAddresses(t *testing.T) {
	t.Parallel()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "1", ResourceVersion: "2", Labels: map[string]string{"a": "b"}},
		Spec:       corev1.PodSpec{NodeName: "node", Hostname: "first", Subdomain: "web", HostNetwork: true},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.1.0.5", Message: "secret"},
	}
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "1", ResourceVersion: "2"},
		Spec:       corev1.PodSpec{Hostname: "first", Subdomain: "web", HostNetwork: true},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.1.0.5"},
	}
	got, err := onlyAddresses(pod)
	if diff := cmp.Diff(any(want), got); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
}
