package cli_test

import (
	"bytes"
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/cli"
	"github.com/sublet-dev/sublet/pkg/cli/host"
)

// TestInterrupt presses Ctrl-C at each request of commands, while the host is silent. Each ends at once, before anything
// is changed. It prints no failure, and has the exit code of an interruption.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"list", "-A"},
		{"list", "--all-contexts", "--host-timeout=1m"},
		{"top"},
		{"version", "--host-timeout=1m"},
		{"check"},
		{"check", "shop"},
		{"describe", "shop"},
		{"logs", "shop"},
		{"logs", "split"},
		{"kubeconfig", "shop"},
		{"kubeconfig", "rotate", "shop"},
		{"connect", "shop"},
		{"create", "new", "-n", "nowhere", "--create-namespace=false"},
		{"delete", "shop"},
		{"delete", "half"},
		{"debug", "collect", "shop", "--file", filepath.Join(t.TempDir(), "bundle")},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			for request := int64(1); interruptAt(t, request, args); request++ {
				if request > 100 {
					t.Fatal("it sends more than 100 requests")
				}
			}
		})
	}
}

// interruptAt runs a command and interrupts it at the request of that number, which gets no answer. It returns false
// if the command sends fewer.
func interruptAt(t *testing.T, number int64, args []string) bool {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	requests, ended := atomic.Int64{}, make(chan struct{})
	answer := func(_ http.ResponseWriter, r *http.Request) bool {
		if requests.Add(1) < number {
			return false
		}
		interrupt()
		select {
		case <-r.Context().Done():
		case <-ended:
		case <-time.After(patience):
			t.Errorf("%s still waits for its request %d", args, number)
		}
		return true
	}
	file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": newFakeHost(t, answer,
		release.Release{Name: "shop", Namespace: "tenant-shop"}, release.Release{Name: "split", Namespace: "tenant-split"})})
	var out, errOut bytes.Buffer
	flags := genericclioptions.NewConfigFlags(true)
	cache := t.TempDir()
	flags.CacheDir = &cache
	env := &host.Env{Flags: flags, In: strings.NewReader("n\n"), IsTerminal: true, Out: &out, Err: &errOut}
	code := cli.Execute(ctx, env, "sublet", append([]string{"--kubeconfig=" + file}, args...))
	close(ended)
	if ctx.Err() == nil {
		return false
	}
	if text := errOut.String(); code != 130 || !strings.HasSuffix(text, "interrupted\n") || strings.Contains(out.String()+text, "context canceled") {
		t.Errorf("%s, interrupted at request %d: exit code %d\n%s%s", args, number, code, out.String(), text)
	}
	return true
}
