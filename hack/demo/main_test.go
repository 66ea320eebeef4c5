package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
)

// TestDemoOnce checks the demo is the shortest test of everything together: the chart,
// its rights, the server as it is shipped, nodes and pods.
func TestDemoOnce(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	server := filepath.Join(root, "bin", "sublet-server")
	if _, err := os.Stat(server); err != nil {
		t.Fatalf("the demo needs the server's binary, which `make build` makes: %v", err)
	}
	var out bytes.Buffer
	err := run(t.Context(), &out, true, tenant.Options{
		Chart: filepath.Join(root, "chart"), Server: server, Release: release, Namespace: namespace,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"VIRTUAL NODES", "sim-0002  Ready", "HOST PODS", "delete the Deployment", "All of it took"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the demo does not show %q:\n%s", want, out.String())
		}
	}
}

func TestDemoSaysWhichStepFailed(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), &bytes.Buffer{}, true, tenant.Options{
		Chart: t.TempDir(), Server: "none", Release: release, Namespace: namespace,
	})
	if err == nil || !strings.Contains(err.Error(), "cannot install the chart") {
		t.Errorf("run = %v, want the step that failed", err)
	}
}
