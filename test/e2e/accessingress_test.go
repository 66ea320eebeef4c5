//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// testIngressOfAPI uses the exported kubeconfig, which leads to the host name of the Ingress. The client certificate
// is accepted, as TLS is passed through.
func testIngressOfAPI(t *testing.T, tn *tenant) {
	router := startPassthrough(t)
	secret, err := hostClient.CoreV1().Secrets(tn.namespace).Get(t.Context(), tn.release+"-kubeconfig", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(secret.Data["config"])
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://"+exportHost || len(config.CertData) == 0 || config.Insecure {
		t.Fatalf("the kubeconfig leads to %s, and its certificate has %d bytes", config.Host, len(config.CertData))
	}
	config.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, router)
	}
	client := kubernetes.NewForConfigOrDie(config)
	eventually(t, "an answer through the Ingress", func(ctx context.Context) error {
		_, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		return err
	})
}

// startPassthrough starts what an ingress controller is to TLS that it passes through, and returns its address. It finds
// the Ingress by the name in the client's greeting, and leads to its Service.
func startPassthrough(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				_ = passThrough(conn)
			}()
		}
	}()
	return listener.Addr().String()
}

// passThrough leads one connection to the Service of its Ingress.
func passThrough(conn net.Conn) error {
	name, greeting := greetingOf(conn)
	address, err := backendOf(context.Background(), name)
	if err != nil {
		return err
	}
	backend, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = backend.Close() }()
	if _, err := backend.Write(greeting); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(backend, conn)
		_ = backend.Close()
	}()
	_, err = io.Copy(conn, backend)
	return err
}

// reader reads from a connection, and drops what is written to it.
type reader struct {
	net.Conn
	from io.Reader
}

func (r reader) Read(p []byte) (int, error)  { return r.from.Read(p) }
func (r reader) Write(p []byte) (int, error) { return len(p), nil }

// greetingOf returns the server name that a client asks for, and what was read.
func greetingOf(conn net.Conn) (name string, read []byte) {
	var seen bytes.Buffer
	_ = tls.Server(reader{conn, io.TeeReader(conn, &seen)}, &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			name = hello.ServerName
			return nil, errors.New("this is all that is needed")
		},
	}).Handshake()
	return name, seen.Bytes()
}

// backendOf returns the address of the Service to which the Ingress of a host name leads.
func backendOf(ctx context.Context, name string) (string, error) {
	list, err := hostClient.NetworkingV1().Ingresses("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for _, ingress := range list.Items {
		for _, rule := range ingress.Spec.Rules {
			if rule.Host != name {
				continue
			}
			backend := rule.HTTP.Paths[0].Backend.Service
			service, err := hostClient.CoreV1().Services(ingress.Namespace).Get(ctx, backend.Name, metav1.GetOptions{})
			if err != nil {
				return "", err
			}
			for _, port := range service.Spec.Ports {
				if port.Name == backend.Port.Name {
					return net.JoinHostPort(service.Spec.ClusterIP, strconv.Itoa(int(port.Port))), nil
				}
			}
		}
	}
	return "", fmt.Errorf("no Ingress has the host %s", name)
}
