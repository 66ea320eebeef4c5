package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestDemoNamesTheStep runs the demo without the binaries of the command line. "make demo
// ARGS=--once" runs all of it: the version of the host, which the chart checks, comes from the linker.
func TestDemoNamesTheStep(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), &bytes.Buffer{}, options{once: true, sublet: "none", server: "none"})
	if err == nil || !strings.Contains(err.Error(), "cannot create a virtual cluster: sublet create demo") {
		t.Errorf("run = %v, want the step that failed", err)
	}
}
