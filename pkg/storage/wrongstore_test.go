package storage

import (
	"context"
	"crypto/x509"
	"flag"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/sublet-dev/sublet/test/etcd"
	"github.com/sublet-dev/sublet/test/ports"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// wrongStore prepares a store that cannot be used, and returns how it is configured.
type wrongStore func(t *testing.T) *External

// wrongEtcds returns the cases of TestWrongStores.
func wrongEtcds() map[string]wrongStore {
	at := func(endpoints ...string) *External { return &External{Endpoints: endpoints, Prefix: "/shop/"} }
	return map[string]wrongStore{
		"no-such-name": func(*testing.T) *External { return at("https://etcd.invalid:2379") },
		"nobody-listens": func(t *testing.T) *External {
			return at("https://"+ports.Free(t, "127.0.0.1"), "https://"+ports.Free(t, "127.0.0.1"))
		},
		"no-answer": func(t *testing.T) *External { return at("https://" + silentAddress(t)) },
		"not-etcd":  func(t *testing.T) *External { return at("http://" + grpcServer(t, "")) },
		"web-server": func(t *testing.T) *External {
			web := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(web.Close)
			return at(web.URL)
		},
		"old-etcd": func(t *testing.T) *External { return at("http://" + grpcServer(t, "3.4.34")) },
		"two-clusters": func(t *testing.T) *External {
			first, second := etcd.Start(t, etcd.Options{}), etcd.Start(t, etcd.Options{Token: "other"})
			return at(first.Endpoint(), second.Endpoint())
		},
		"tls-for-plain-etcd": func(t *testing.T) *External {
			return at(strings.Replace(etcd.Start(t, etcd.Options{}).Endpoint(), "http:", "https:", 1))
		},
		"plain-for-tls-etcd": func(t *testing.T) *External {
			x := tlsStore(t, nil)
			x.Endpoints[0] = strings.Replace(x.Endpoints[0], "https:", "http:", 1)
			return x
		},
		"other-ca": func(t *testing.T) *External {
			x := tlsStore(t, nil)
			x.TLS.CA = newSigner(t).caFile()
			return x
		},
		"expired-server": func(t *testing.T) *External {
			return tlsStore(t, func(cert *x509.Certificate) { cert.NotAfter = time.Now().Add(-time.Minute) })
		},
		"other-name": func(t *testing.T) *External {
			return tlsStore(t, func(cert *x509.Certificate) { cert.IPAddresses, cert.DNSNames = nil, []string{"etcd.example.com"} })
		},
		"no-ca-file": func(t *testing.T) *External {
			x := tlsStore(t, nil)
			x.TLS.CA = "missing.crt"
			return x
		},
		"no-key": func(t *testing.T) *External {
			x := tlsStore(t, nil)
			x.TLS.Cert = "server.crt"
			return x
		},
		"no-client-certificate":    func(t *testing.T) *External { return mutualStore(t, newSigner(t), nil, "") },
		"other-client-certificate": func(t *testing.T) *External { return mutualStore(t, newSigner(t), newSigner(t), "shop") },
		"no-permission":            func(t *testing.T) *External { return authStore(t, "shop", false) },
		"no-user":                  func(t *testing.T) *External { return authStore(t, "nobody", true) },
		"other-virtual-cluster": func(t *testing.T) *External {
			return storeWith(t, IdentityKey, `{"anchor":"other-uid","namespace":"team-b","name":"games"}`)
		},
		"other-data": func(t *testing.T) *External { return storeWith(t, "/registry/pods/default/web", "{}") },
	}
}

// TestWrongStores opens stores that cannot be used. Each start waits and reports
// why, and what to do, in one line.
func TestWrongStores(t *testing.T) {
	t.Parallel()
	lines := make(chan [2]string, len(wrongEtcds()))
	t.Run("group", func(t *testing.T) {
		t.Parallel()
		for name, prepare := range wrongEtcds() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				x := prepare(t)
				lines <- [2]string{name, masked(x, refusal(t, x, name == "no-answer"))}
			})
		}
	})
	t.Cleanup(func() {
		close(lines)
		found := map[string]string{}
		for line := range lines {
			found[line[0]] = line[1]
		}
		var text strings.Builder
		for _, name := range slices.Sorted(maps.Keys(found)) {
			fmt.Fprintf(&text, "== %s\n%s\n\n", name, found[name])
		}
		compareGolden(t, "testdata/wrongetcd.txt", text.String())
	})
}

// refusal returns the first reason that a start reports.
func refusal(t *testing.T, x *External, silent bool) string {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	first := ""
	x.Waiter = Waiter{Report: func(reason string) {
		if silent || !strings.Contains(reason, "no answer within") { // Others may be slow on a busy machine.
			first = reason
			stop()
		}
	}}
	t.Cleanup(x.Stop)
	owned := &Owned{
		Backend: x, Identity: Identity{Anchor: "own-uid", Namespace: "team-a", Name: "shop"}, Waiter: x.Waiter,
		TakeOver: "kubectl -n team-a annotate configmap shop sublet.dev/accept-store=",
	}
	if _, err := owned.Start(ctx); err == nil {
		t.Error("the store was opened")
	}
	if strings.Contains(first, "\n") || len(first) > 450 {
		t.Errorf("%q is no line that a person can read", first)
	}
	return first
}

// masked replaces what differs between two runs.
func masked(x *External, line string) string {
	for i, endpoint := range x.Endpoints {
		line = strings.ReplaceAll(line, hostPort(endpoint), fmt.Sprintf("ADDRESS-%d", i+1))
	}
	if x.TLS.Dir != "" {
		line = strings.ReplaceAll(line, x.TLS.Dir, "DIR")
	}
	return line
}

func compareGolden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs; run the test with -update:\n%s", path, diff)
	}
}

// tlsStore returns a store on an etcd with TLS whose certificate the test can change.
func tlsStore(t *testing.T, change func(*x509.Certificate)) *External {
	t.Helper()
	ca := newSigner(t)
	cert, key := ca.leaf(t, "server", change)
	s := etcd.Start(t, withTLS(cert, key, ""))
	return &External{Endpoints: []string{s.Endpoint()}, Prefix: "/shop/", TLS: TLSFiles{Dir: ca.dir}}
}

// mutualStore returns a store on an etcd that wants client certificates signed by ca. The
// client has one that by has signed, none if that is nil.
func mutualStore(t *testing.T, ca, by *signer, name string) *External {
	t.Helper()
	cert, key := ca.leaf(t, "server", nil)
	s := etcd.Start(t, withTLS(cert, key, ca.caFile()))
	x := &External{Endpoints: []string{s.Endpoint()}, Prefix: "/shop/", TLS: TLSFiles{Dir: ca.dir}}
	if by != nil {
		x.TLS.Cert, x.TLS.Key = by.leaf(t, name, nil)
	}
	return x
}

// authStore returns a store on an etcd with users. The user shop has permissions on the
// prefix if granted is true, else none.
func authStore(t *testing.T, user string, granted bool) *External {
	t.Helper()
	ca := newSigner(t)
	x := mutualStore(t, ca, ca, "root")
	client, err := clientv3.New(x.clientConfig(x.Endpoints))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if _, err := client.RoleAdd(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	if granted {
		if _, err := client.RoleGrantPermission(t.Context(), "shop", x.Prefix, clientv3.GetPrefixRangeEnd(x.Prefix), clientv3.PermissionType(clientv3.PermReadWrite)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"root", "shop"} {
		if _, err := client.UserAddWithOptions(t.Context(), name, "", &clientv3.UserAddOptions{NoPassword: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.UserGrantRole(t.Context(), name, name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.AuthEnable(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.TLS.Cert, x.TLS.Key = ca.leaf(t, user, nil)
	return x
}

// storeWith returns a store in which a key is.
func storeWith(t *testing.T, key, value string) *External {
	t.Helper()
	s := etcd.Start(t, etcd.Options{})
	_, client := startExternal(t, s, "/shop/")
	if _, err := client.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
	return &External{Endpoints: []string{s.Endpoint()}, Prefix: "/shop/"}
}

// silentAddress returns an address that accepts connections and never answers.
func silentAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

// oldMaintenance is the part of an older etcd that is asked for the version.
type oldMaintenance struct {
	etcdserverpb.UnimplementedMaintenanceServer
	version string
}

func (m oldMaintenance) Status(context.Context, *etcdserverpb.StatusRequest) (*etcdserverpb.StatusResponse, error) {
	return &etcdserverpb.StatusResponse{Header: &etcdserverpb.ResponseHeader{ClusterId: 1}, Version: m.version}, nil
}

// grpcServer returns the address of a gRPC server that is an etcd of the given version,
// or no etcd.
func grpcServer(t *testing.T, version string) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	if version != "" {
		etcdserverpb.RegisterMaintenanceServer(server, oldMaintenance{version: version})
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}
