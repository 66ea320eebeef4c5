package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// tokens is where the kubelet puts what a pod needs to call the API server.
const tokens = "/var/run/secrets/kubernetes.io/serviceaccount" //nolint:gosec // a path, no token

// serve answers over HTTP and echoes over UDP until the context ends.
func serve(ctx context.Context, tcp, udp string) error {
	packets, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", udp)
	if err != nil {
		return fmt.Errorf("cannot listen on UDP %s: %w", udp, err)
	}
	context.AfterFunc(ctx, func() { _ = packets.Close() })
	go echo(packets)

	server := &http.Server{Addr: tcp, Handler: handler(tokens), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = server.Shutdown(ctx)
	})
	fmt.Printf("serving on %s\n", tcp)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve on %s: %w", tcp, err)
	}
	return nil
}

func echo(packets net.PacketConn) {
	buffer := make([]byte, 64<<10)
	for {
		n, from, err := packets.ReadFrom(buffer)
		if err != nil {
			return
		}
		_, _ = packets.WriteTo(buffer[:n], from)
	}
}

// handler answers everything that a test may ask of a pod.
func handler(tokens string) http.Handler {
	var failing atomic.Bool
	mux := http.NewServeMux()
	text := func(path string, answer func(r *http.Request) (string, error)) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			body, err := answer(r)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			_, _ = fmt.Fprint(w, body)
		})
	}
	healthz := func(*http.Request) (string, error) {
		if failing.Load() {
			return "", errors.New("told to fail")
		}
		return "ok", nil
	}
	text("/healthz", healthz)
	text("/readyz", healthz)
	text("/fail", func(*http.Request) (string, error) { failing.Store(true); return "failing", nil })
	text("/hostname", func(*http.Request) (string, error) { return os.Hostname() })
	text("/{$}", func(*http.Request) (string, error) { return os.Hostname() })
	text("/clientip", func(r *http.Request) (string, error) { return r.RemoteAddr, nil })
	text("/header", header)
	text("/env", func(*http.Request) (string, error) {
		env := os.Environ()
		slices.Sort(env)
		return strings.Join(env, "\n") + "\n", nil
	})
	text("/echo", func(r *http.Request) (string, error) { return r.FormValue("msg"), nil })
	text("/file", func(r *http.Request) (string, error) {
		data, err := os.ReadFile(r.FormValue("path"))
		return string(data), err
	})
	text("/dns", func(r *http.Request) (string, error) {
		addresses, err := net.DefaultResolver.LookupHost(r.Context(), r.FormValue("name"))
		return strings.Join(addresses, "\n") + "\n", err
	})
	text("/fetch", func(r *http.Request) (string, error) {
		return fetched(get(r.Context(), http.DefaultClient, r.FormValue("url"), ""))
	})
	text("/api", func(r *http.Request) (string, error) {
		return askAPI(r.Context(), tokens, r.FormValue("path"))
	})
	text("/log", func(r *http.Request) (string, error) {
		fmt.Println(r.FormValue("msg"))
		return "logged", nil
	})
	mux.HandleFunc("/exit", func(_ http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.FormValue("code"))
		os.Exit(code)
	})
	return mux
}

func header(r *http.Request) (string, error) {
	var lines strings.Builder
	err := r.Header.Write(&lines)
	return lines.String(), err
}

func fetched(status int, body []byte, err error) (string, error) {
	if err == nil && status >= http.StatusBadRequest {
		err = fmt.Errorf("status %d: %s", status, body)
	}
	return string(body), err
}

// askAPI asks the API server as any client in a pod does: by the address in the
// environment, with the mounted certificate and token.
func askAPI(ctx context.Context, tokens, path string) (string, error) {
	token, err := os.ReadFile(filepath.Join(tokens, "token"))
	if err != nil {
		return "", err
	}
	ca, err := os.ReadFile(filepath.Join(tokens, "ca.crt"))
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	host := net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	return fetched(get(ctx, &http.Client{Transport: transport}, "https://"+host+path, strings.TrimSpace(string(token))))
}
