package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/template"
	"github.com/google/go-containerregistry/pkg/registry"
	"go.etcd.io/etcd/server/v3/embed"
)

// shutdownContext ends with the first SIGTERM or SIGINT.
func shutdownContext() context.Context {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop)
	return ctx
}

// runEtcd serves one member, set up by a file of etcd's own format.
func runEtcd(args []string) error {
	flags := flag.NewFlagSet("etcd", flag.ContinueOnError)
	file := flags.String("config-file", "", "etcd's configuration file (required)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	config, err := embed.ConfigFromFile(*file)
	if err != nil {
		return fmt.Errorf("cannot read configuration %q: %w", *file, err)
	}
	member, err := embed.StartEtcd(config)
	if err != nil {
		return fmt.Errorf("cannot start: %w", err)
	}
	defer member.Close()
	select {
	case <-shutdownContext().Done():
		return nil
	case err := <-member.Err():
		return err
	}
}

// runCoreDNS serves the zones of a Corefile.
func runCoreDNS(args []string) error {
	flags := flag.NewFlagSet("coredns", flag.ContinueOnError)
	file := flags.String("conf", "", "the Corefile (required)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	text, err := os.ReadFile(*file)
	if err != nil {
		return fmt.Errorf("cannot read Corefile: %w", err)
	}
	caddy.Quiet, dnsserver.Quiet = true, true
	server, err := caddy.Start(caddy.CaddyfileInput{Filepath: *file, Contents: text, ServerTypeName: "dns"})
	if err != nil {
		return fmt.Errorf("cannot start: %w", err)
	}
	<-shutdownContext().Done()
	return server.Stop()
}

// runRegistry serves images over plain HTTP, blobs on disk and manifests in
// memory: whoever starts it pushes its images again.
func runRegistry(args []string) error {
	flags := flag.NewFlagSet("registry", flag.ContinueOnError)
	address := flags.String("address", "127.0.0.1:5000", "where to listen")
	dir := flags.String("dir", "", "folder for blobs (required)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return fmt.Errorf("cannot create the folder for blobs: %w", err)
	}
	ctx := shutdownContext()
	server := &http.Server{
		Addr: *address,
		Handler: registry.New(
			registry.WithBlobHandler(registry.NewDiskBlobHandler(*dir)),
			registry.Logger(log.New(io.Discard, "", 0)),
		),
		ReadHeaderTimeout: 10 * time.Second,
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve on %s: %w", *address, err)
	}
	return nil
}
