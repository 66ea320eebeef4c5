package dns

import (
	"context"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// patience bounds every wait. No test waits until it is over.
const patience = 2 * time.Minute

// startServer starts a server, which stops when the test ends.
func startServer(t *testing.T, options Options) (s *Server, stop func()) {
	t.Helper()
	if options.Address == "" {
		options.Address = "127.0.0.1:0"
	}
	s, err := New(options)
	if err != nil {
		t.Fatalf("New(...): %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run(...): %v", err)
			}
		case <-time.After(patience):
			t.Errorf("Run(...) still runs %s after its context ended", patience)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

func awaitReady(t *testing.T, s *Server) {
	t.Helper()
	select {
	case <-s.Ready():
	case <-time.After(patience):
		t.Fatalf("the server is not ready after %s", patience)
	}
}

// answer is the part of a reply that a resolver uses.
type answer struct {
	Code    string
	Records []string
}

// lookup sends a query. It returns the records sorted, without TTL and class.
func lookup(t *testing.T, address, network, name string, kind uint16) answer {
	t.Helper()
	query := new(dns.Msg)
	query.SetQuestion(name, kind)
	client := &dns.Client{Net: network, Timeout: patience}
	reply, _, err := client.Exchange(query, address)
	if err != nil {
		t.Fatalf("%s %s over %s: %v", name, dns.TypeToString[kind], network, err)
	}
	got := answer{Code: dns.RcodeToString[reply.Rcode]}
	for _, record := range reply.Answer {
		fields := strings.Fields(record.String())
		got.Records = append(got.Records, strings.Join(append([]string{fields[0]}, fields[3:]...), " "))
	}
	sort.Strings(got.Records)
	return got
}

// startUpstream starts a nameserver outside the cluster. It knows every name below
// example.org and counts its queries.
func startUpstream(t *testing.T) (address string, asked *atomic.Int32) {
	t.Helper()
	asked = &atomic.Int32{}
	return serveDNS(t, func(w dns.ResponseWriter, r *dns.Msg) {
		reply := new(dns.Msg)
		reply.SetReply(r)
		name := r.Question[0].Name
		switch {
		case strings.HasSuffix(name, "example.org."):
			asked.Add(1)
			record, _ := dns.NewRR(name + " 300 IN A 192.0.2.1")
			reply.Answer = append(reply.Answer, record)
		case strings.HasSuffix(name, ".in-addr.arpa."):
			record, _ := dns.NewRR(name + " 300 IN PTR outside.example.org.")
			reply.Answer = append(reply.Answer, record)
		default:
			reply.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(reply)
	}), asked
}

// serveDNS starts a nameserver with that handler, and returns its address.
func serveDNS(t *testing.T, handler dns.HandlerFunc) string {
	t.Helper()
	tcp, udp, err := listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []*dns.Server{{PacketConn: udp, Handler: handler}, {Listener: tcp, Handler: handler}} {
		begun := make(chan struct{})
		server.NotifyStartedFunc = func() { close(begun) }
		go func() { _ = server.ActivateAndServe() }()
		<-begun
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return tcp.Addr().String()
}

// newShop returns a cluster with one Service of each sort.
func newShop(t *testing.T) *fakeAPI {
	return newFakeAPI(t,
		newNamespace("default"), newNamespace("shop"),
		newService("default", "kubernetes", "10.96.0.1"),
		newService("shop", "front", "10.96.3.4"),
		newService("shop", "db", "None"),
		newSlice("shop", "db", [2]string{"db-0", "10.1.0.10"}, [2]string{"db-1", "10.1.0.11"}),
		newService("shop", "bare", "None"),
		newSlice("shop", "bare", [2]string{"", "10.1.0.20"}),
		newExternal("shop", "mail", "mx.example.org"),
	)
}

// eventually calls ask until its result is good, or the time is over. It returns the
// last result.
func eventually[T any](t *testing.T, timeout time.Duration, ask func() (T, bool)) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	for {
		got, good := ask()
		if good {
			return got
		}
		select {
		case <-ctx.Done():
			return got
		case <-time.After(10 * time.Millisecond):
		}
	}
}
