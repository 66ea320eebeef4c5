//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// testNotes does what the notes of the release say, line by line, with nothing
// but a shell and kubectl.
func testNotes(t *testing.T, tn *tenant) {
	notes := mustRun(t, helm("get", "notes", tn.release, "-n", tn.namespace))
	dir := t.TempDir()
	shell := func(line string) *exec.Cmd {
		cmd := newCommand("sh", "-c", line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "KUBECONFIG="+hostKubeconfig)
		return cmd
	}
	ran := 0
	for line := range strings.Lines(notes) {
		line, command := strings.CutPrefix(strings.TrimRight(line, "\n"), "  ")
		switch {
		case !command || strings.Contains(line, "--watch") || strings.Contains(line, "create deployment"):
			// Prose, or a line that never ends, or one that needs an image from outside.
		case strings.Contains(line, "port-forward"):
			cmd := shell("exec " + line)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
			ran++
		default:
			eventually(t, line, func(context.Context) error {
				out, err := shell(line).CombinedOutput()
				if err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
				return nil
			})
			ran++
		}
	}
	if ran < 4 {
		t.Errorf("the notes must lead from nothing to the first nodes; ran %d lines of\n%s", ran, notes)
	}
}
