// Package clock gives each process of a test a wall clock of its own, which jumps when the
// test sets it. The monotonic clock stays the machine's, as where an administrator or a time
// server sets a clock.
//
// A program for Linux reads the clock without a system call, so nothing outside can change
// what it reads. [Build] compiles it with another time.Now.
package clock

import (
	"bytes"
	"context"
	_ "embed" // for shift.go.txt
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// variable names the file with the clock of a process. shift.go.txt has the name too.
const variable = "SUBLET_TEST_CLOCK"

//go:embed shift.go.txt
var shift []byte

// What time.Now reads, and what it reads in a program of [Build].
const (
	original = "sec, nsec, mono := runtimeNow()\n"
	replaced = "sec, nsec, mono := shifted(runtimeNow())\n"
)

// Clock is the wall clock of one process at a time.
type Clock struct{ file *os.File }

// New returns a clock that is right. Its file is made at path.
func New(path string) (*Clock, error) {
	file, err := os.Create(path) //nolint:gosec // The test names its own file.
	if err != nil {
		return nil, fmt.Errorf("cannot make a clock: %w", err)
	}
	c := &Clock{file: file}
	return c, c.Set(0)
}

// Environment returns the variable of the process that has this clock.
func (c *Clock) Environment() string { return variable + "=" + c.file.Name() }

// Set makes the clock jump to the right time plus shift.
func (c *Clock) Set(shift time.Duration) error {
	if _, err := c.file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(shift)), 0); err != nil { //nolint:gosec // The sign is a bit too.
		return fmt.Errorf("cannot set a clock: %w", err)
	}
	return nil
}

// Close frees what the clock needs. Its process keeps the time that it has.
func (c *Clock) Close() error { return c.file.Close() }

// Build compiles a command whose processes have a [Clock], and returns its path in dir. The
// first time it compiles all packages again, which takes minutes.
func Build(ctx context.Context, dir, command string) (string, error) {
	overlay, err := writeOverlay(ctx, dir)
	if err != nil {
		return "", fmt.Errorf("cannot change the clock of %s: %w", command, err)
	}
	program := filepath.Join(dir, filepath.Base(command))
	_, err = run(ctx, "build", "-overlay", overlay, "-o", program, command)
	return program, err
}

// writeOverlay writes into dir what package time has in another form, and the file that lists it.
func writeOverlay(ctx context.Context, dir string) (string, error) {
	root, err := run(ctx, "env", "GOROOT")
	if err != nil {
		return "", err
	}
	standard := filepath.Join(string(bytes.TrimSpace(root)), "src", "time")
	now, err := os.ReadFile(filepath.Join(standard, "time.go")) //nolint:gosec // of the toolchain
	if err != nil {
		return "", err
	}
	if strings.Count(string(now), original) != 1 {
		return "", fmt.Errorf("time.go of this toolchain has %q not once", original)
	}
	files := map[string]string{}
	for name, content := range map[string][]byte{"time.go": []byte(strings.Replace(string(now), original, replaced, 1)), "shift.go": shift} {
		files[filepath.Join(standard, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return "", err
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": files})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, list, 0o600)
}

// run runs the go command and returns what it prints.
func run(ctx context.Context, arguments ...string) ([]byte, error) {
	var stderr bytes.Buffer
	command := exec.CommandContext(ctx, "go", arguments...) //nolint:gosec // The arguments are of this file.
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", arguments[0], err, stderr.Bytes())
	}
	return out, nil
}
