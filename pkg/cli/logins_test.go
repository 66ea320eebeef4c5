package cli_test

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/api/release"
)

// startProxy starts a proxy for TLS, and counts the connections.
func startProxy(t *testing.T) (url string, connections *atomic.Int32) {
	t.Helper()
	connections = &atomic.Int32{}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "this is a proxy for TLS", http.StatusBadRequest)
			return
		}
		connections.Add(1)
		server, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer server.Close()
		client, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer client.Close()
		_, _ = fmt.Fprint(client, "HTTP/1.1 200 Connected\r\n\r\n")
		go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
		_, _ = io.Copy(client, server)
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL, connections
}

// TestLogins logs in to a host by each way that a kubeconfig has, as kubectl does.
func TestLogins(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plugin, token := filepath.Join(dir, "plugin"), filepath.Join(dir, "token")
	credential := `{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"of-a-plugin"}}`
	if err := os.WriteFile(plugin, []byte("#!/bin/sh\necho '"+credential+"'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(token, []byte("of-a-file"), 0o600); err != nil {
		t.Fatal(err)
	}
	jwt := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":99999999999}`)) + ".c2ln"
	proxy, connections := startProxy(t)
	for _, c := range []struct {
		reason string
		change func(cluster *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo, context *clientcmdapi.Context)
		args   []string
		header string // of the request, as NAME: VALUE
		path   string // of the request
		code   int
	}{
		{"a token", nil, nil, "Authorization: Bearer t", "/namespaces/default/", 0},
		{"a token in a file", func(_ *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo, _ *clientcmdapi.Context) {
			user.Token, user.TokenFile = "", token
		}, nil, "Authorization: Bearer of-a-file", "", 0},
		{"a password", func(_ *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo, _ *clientcmdapi.Context) {
			user.Token, user.Username, user.Password = "", "ann", "pass"
		}, nil, "Authorization: Basic YW5uOnBhc3M=", "", 0},
		{"an exec plugin", func(_ *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo, _ *clientcmdapi.Context) {
			user.Token, user.Exec = "", &clientcmdapi.ExecConfig{
				Command: plugin, APIVersion: "client.authentication.k8s.io/v1", InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
			}
		}, nil, "Authorization: Bearer of-a-plugin", "", 0},
		{"an auth-provider plugin", func(_ *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo, _ *clientcmdapi.Context) {
			user.Token, user.AuthProvider = "", &clientcmdapi.AuthProviderConfig{Name: "oidc", Config: map[string]string{
				"idp-issuer-url": "https://issuer.example", "client-id": "sublet", "id-token": jwt,
			}}
		}, nil, "Authorization: Bearer " + jwt, "", 0},
		{"a user and a group to act as", func(_ *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo, _ *clientcmdapi.Context) {
			user.Impersonate, user.ImpersonateGroups = "ben", []string{"dev"}
		}, nil, "Impersonate-User: ben", "", 0},
		{"--as", nil, []string{"--as=cat"}, "Impersonate-User: cat", "", 0},
		{"--token", nil, []string{"--token=other"}, "Authorization: Bearer other", "", 0},
		{"the namespace of the context", func(_ *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo, context *clientcmdapi.Context) {
			context.Namespace = "shop"
		}, nil, "", "/namespaces/shop/", 0},
		{"-n before the namespace of the context", func(_ *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo, context *clientcmdapi.Context) {
			context.Namespace = "shop"
		}, []string{"-n", "other"}, "", "/namespaces/other/", 0},
		{"a proxy", func(cluster *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo, _ *clientcmdapi.Context) {
			cluster.ProxyURL = proxy
		}, nil, "Authorization: Bearer t", "", 0},
		{"the name of the certificate", func(cluster *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo, _ *clientcmdapi.Context) {
			cluster.InsecureSkipTLSVerify, cluster.TLSServerName = false, "example.com"
		}, nil, "Authorization: Bearer t", "", 0},
		{"another name than that of the certificate", func(cluster *clientcmdapi.Cluster, _ *clientcmdapi.AuthInfo, _ *clientcmdapi.Context) {
			cluster.InsecureSkipTLSVerify, cluster.TLSServerName = false, "example.org"
		}, nil, "", "", 5},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			asked := make(chan *http.Request, 10)
			h := newFakeHost(t, func(_ http.ResponseWriter, r *http.Request) bool {
				asked <- r
				return false
			}, release.Release{Name: "shop", Namespace: "tenant-shop"})
			file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": h})
			config, err := clientcmd.LoadFromFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if c.change != nil {
				cluster := config.Clusters["east"]
				c.change(cluster, config.AuthInfos["east"], config.Contexts["east"])
				if !cluster.InsecureSkipTLSVerify {
					cluster.CertificateAuthorityData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
				}
			}
			if err := clientcmd.WriteToFile(*config, file); err != nil {
				t.Fatal(err)
			}
			_, errOut, code := runSublet(t, file, append([]string{"list"}, c.args...)...)
			if code != c.code {
				t.Fatalf("exit code %d, want %d: %s", code, c.code, errOut)
			}
			if c.code != 0 {
				return
			}
			request := <-asked
			if name, value, _ := strings.Cut(c.header, ": "); name != "" && request.Header.Get(name) != value {
				t.Errorf("%s is %q, want %q", name, request.Header.Get(name), value)
			}
			if !strings.Contains(request.URL.Path, c.path) {
				t.Errorf("it asked for %s, want %s", request.URL.Path, c.path)
			}
			if c.reason == "a proxy" && connections.Load() == 0 {
				t.Error("the proxy was not asked")
			}
		})
	}
}
