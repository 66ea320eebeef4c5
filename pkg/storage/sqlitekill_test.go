package storage

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"go.etcd.io/etcd/client/v3/kubernetes"

	"github.com/sublet-dev/sublet/test/databases"
)

// writerDir is the environment variable with the directory of the child of
// TestSQLiteLosesNoConfirmedWrite.
const writerDir = "SUBLET_TEST_SQLITE_WRITER"

// writesOfChild is how many writes a child confirms before it is killed.
const writesOfChild = 100

// TestSQLiteLosesNoConfirmedWrite kills a process that writes with SIGKILL, several times,
// and looks for all that it has confirmed.
func TestSQLiteLosesNoConfirmedWrite(t *testing.T) {
	t.Parallel()
	databases.SkipUnderRace(t)
	if dir := os.Getenv(writerDir); dir != "" {
		writeUntilKilled(t, dir)
		return
	}
	dir := t.TempDir()
	confirmed := map[string]int64{}
	for range 3 {
		killWriter(t, dir, confirmed)
	}

	client := startKine(t, SQLite(dir))
	list, err := client.Kubernetes.List(t.Context(), "/registry/w/", kubernetes.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stored := map[string]int64{}
	for _, kv := range list.Kvs {
		stored[string(kv.Key)] = kv.ModRevision
	}
	for key, revision := range confirmed {
		if stored[key] != revision {
			t.Errorf("%s was confirmed at revision %d, the store has %d", key, revision, stored[key])
		}
	}
	t.Logf("%d confirmed, %d stored", len(confirmed), len(stored))
}

// killWriter starts a process that writes to the store, kills it in the middle, and adds
// what it has confirmed.
func killWriter(t *testing.T, dir string, confirmed map[string]int64) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$")
	child.Env = append(os.Environ(), writerDir+"="+dir)
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var other []string
	found := 0
	for lines := bufio.NewScanner(output); lines.Scan(); {
		key, text, ok := strings.Cut(lines.Text(), " confirmed ")
		revision, err := strconv.ParseInt(text, 10, 64)
		if !ok || err != nil {
			other = append(other, lines.Text())
			continue
		}
		confirmed[key] = revision
		// The lines that it has printed by then follow.
		if found++; found == writesOfChild {
			_ = child.Process.Kill()
		}
	}
	_ = child.Wait()
	if found < writesOfChild {
		t.Fatalf("the writer confirmed %d writes, want %d:\n%s", found, writesOfChild, strings.Join(other, "\n"))
	}
}

// writeUntilKilled writes keys and prints each one that is confirmed.
func writeUntilKilled(t *testing.T, dir string) {
	t.Helper()
	client := startKine(t, SQLite(dir))
	for i := 0; ; i++ {
		key := fmt.Sprintf("/registry/w/%d-%06d", os.Getpid(), i)
		revision := mustPut(t, client, key, "1", 0)
		// In one write, so that no line is cut.
		if _, err := io.WriteString(os.Stdout, fmt.Sprintf("%s confirmed %d\n", key, revision)); err != nil {
			t.Fatal(err)
		}
	}
}
