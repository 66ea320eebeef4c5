// Command testserver runs in the pods of end-to-end tests. It answers questions about
// where it runs, and sends requests on behalf of a test.
//
//	testserver serve [--http :8080] [--udp :8081]
//	testserver log [--every 1s] [--lines 0]
//	testserver get URL
//	testserver gauges [--https :8443]
//
// As a server it has the paths /hostname, /healthz, /readyz, /clientip, /header, /env,
// /echo?msg=, /file?path=, /dns?name=, /fetch?url=, /log?msg= and /exit?code=. With
// /api?path= it asks the API server with the pod's own token. After /fail, healthz
// fails. With gauges it is the server of an aggregated API.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "testserver: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	command := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	switch command {
	case "serve":
		tcp := flags.String("http", ":8080", "address for HTTP")
		udp := flags.String("udp", ":8081", "address for UDP, which echoes")
		if err := flags.Parse(args); err != nil {
			return err
		}
		return serve(ctx, *tcp, *udp)
	case "log":
		every := flags.Duration("every", time.Second, "time between two lines")
		lines := flags.Int("lines", 0, "how many lines; 0 means without end")
		if err := flags.Parse(args); err != nil {
			return err
		}
		return logLines(ctx, os.Stdout, *every, *lines)
	case "gauges":
		return serveGauges(ctx, flags, args)
	case "get":
		if err := flags.Parse(args); err != nil {
			return err
		}
		status, body, err := get(ctx, http.DefaultClient, flags.Arg(0), "")
		if err == nil && status >= http.StatusBadRequest {
			err = fmt.Errorf("%s answers %d", flags.Arg(0), status)
		}
		fmt.Printf("%s", body)
		return err
	}
	return fmt.Errorf("unknown command %q: serve, log, get or gauges", command)
}

// logLines writes numbered lines, so that a reader sees which one is missing.
func logLines(ctx context.Context, out io.Writer, every time.Duration, lines int) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for n := 1; lines == 0 || n <= lines; n++ {
		if _, err := fmt.Fprintf(out, "line %d\n", n); err != nil {
			return err
		}
		if n == lines {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
	return nil
}

func get(ctx context.Context, client *http.Client, url, token string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, body, err
}
