package hostlab

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	rest := " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	cases := map[string]struct {
		reason  string
		stat    string
		want    process
		wantErr bool
	}{
		"Plain": {
			reason: "The start time is the twentieth field after the name.",
			stat:   "42 (sleep)" + rest,
			want:   process{pid: 42, start: "4711"},
		},
		"NameWithParenthesis": {
			reason: "A name may hold spaces and parentheses, which must not shift the fields.",
			stat:   "42 (a) Z (b)" + rest,
			want:   process{pid: 42, start: "4711"},
		},
		"Zombie": {
			reason:  "A process that only waits for its parent has ended.",
			stat:    strings.Replace("42 (sleep)"+rest, " S ", " Z ", 1),
			wantErr: true,
		},
		"Short": {
			reason:  "What cannot be read is not taken for a process.",
			stat:    "42 (sleep) S 1",
			wantErr: true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseStat(42, tc.stat)
			if (err != nil) != tc.wantErr {
				t.Fatalf("%s\nparseStat: error %v, want one: %v", tc.reason, err, tc.wantErr)
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(process{})); diff != "" {
				t.Errorf("%s\nparseStat: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestParsePID(t *testing.T) {
	t.Parallel()
	want := process{pid: 42, start: "4711"}
	got, err := parsePID(want.String())
	if err != nil || got != want {
		t.Errorf("parsePID(%q) = %v, %v; a pid file must be read as it was written", want.String(), got, err)
	}
	for _, text := range []string{"", "42", "x 4711", "42 4711 1"} {
		if p, err := parsePID(text); err == nil {
			t.Errorf("parsePID(%q) = %v, want an error", text, p)
		}
	}
}

func newDaemons(t *testing.T) daemons {
	t.Helper()
	d := daemonsIn(t.TempDir())
	for _, dir := range []string{d.run, d.log} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestDaemonLife(t *testing.T) {
	t.Parallel()
	d := newDaemons(t)
	if err := d.start("sleeper", exec.Command("sleep", "1000")); err != nil {
		t.Fatal(err)
	}
	first, ok := d.readPIDFile("sleeper")
	if !ok {
		t.Fatal("a daemon that was started is not found")
	}
	if err := d.start("sleeper", exec.Command("sleep", "1000")); err != nil {
		t.Fatal(err)
	}
	if second, _ := d.readPIDFile("sleeper"); second != first {
		t.Errorf("start while it runs: %v became %v, want the same process", first, second)
	}
	if err := d.checkRunning("sleeper"); err != nil {
		t.Errorf("check of a running daemon: %v", err)
	}
	if err := d.stop(t.Context(), "sleeper", 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if first.isRunning() {
		t.Errorf("process %d lives on after stop", first.pid)
	}
	if _, err := os.Stat(d.pidFile("sleeper")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pid file is still there after stop: %v", err)
	}
	if err := d.stop(t.Context(), "sleeper", time.Second); err != nil {
		t.Errorf("stop of what does not run: %v", err)
	}
}

func TestDaemonIsKilledWhenItDoesNotListen(t *testing.T) {
	t.Parallel()
	d := newDaemons(t)
	ready := filepath.Join(d.run, "ready")
	deaf := exec.Command("sh", "-c", "trap '' TERM; touch "+ready+"; while :; do sleep 1; done")
	if err := d.start("deaf", deaf); err != nil {
		t.Fatal(err)
	}
	err := poll(t.Context(), time.Minute, "the trap", func(context.Context) error {
		_, err := os.Stat(ready)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	p, _ := d.readPIDFile("deaf")
	if err := d.stop(t.Context(), "deaf", 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if p.isRunning() {
		t.Errorf("process %d lives on", p.pid)
	}
}

func TestStopSparesStrangers(t *testing.T) {
	t.Parallel()
	d := newDaemons(t)
	stranger := exec.Command("sleep", "1000")
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stranger.Process.Kill(); _ = stranger.Wait() })
	now, err := readProcess(stranger.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	old := process{pid: now.pid, start: "1"}
	if err := os.WriteFile(d.pidFile("ours"), []byte(old.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := d.stop(t.Context(), "ours", time.Second); err != nil {
		t.Fatal(err)
	}
	if !now.isRunning() {
		t.Error("a process that only got the pid of a daemon of ours was stopped")
	}
}

func TestCheckQuotesTheLog(t *testing.T) {
	t.Parallel()
	d := newDaemons(t)
	if err := d.start("loser", exec.Command("sh", "-c", "echo all is lost; exit 1")); err != nil && !strings.Contains(err.Error(), "pid of loser") {
		t.Fatal(err)
	}
	err := poll(t.Context(), time.Minute, "its end", func(context.Context) error {
		if err := d.checkRunning("loser"); err == nil || !strings.Contains(err.Error(), "all is lost") {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil {
		t.Errorf("check never quoted the log: %v; last: %v", err, d.checkRunning("loser"))
	}
	if _, ok := errors.AsType[permanentError](d.checkRunning("loser")); !ok {
		t.Error("a daemon that ended must end all waiting for it")
	}
}

func TestOutputQuotesDiagnostics(t *testing.T) {
	t.Parallel()
	out, err := runForOutput(exec.Command("sh", "-c", "echo fine"))
	if out != "fine\n" || err != nil {
		t.Errorf("output = %q, %v", out, err)
	}
	_, err = runForOutput(exec.Command("sh", "-c", "echo broken >&2; exit 3"))
	if err == nil || !strings.Contains(err.Error(), "broken") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("output's error is %v, want the command's words and status", err)
	}
}

func TestPoll(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	cases := map[string]struct {
		reason string
		answer func(n int) error
		want   string
		asked  int // at most; 0 means any number
	}{
		"AtOnce": {
			reason: "A condition that is true needs no wait.",
			answer: func(int) error { return nil },
			asked:  1,
		},
		"Later": {
			reason: "It checks again until the condition is true.",
			answer: func(n int) error {
				if n < 3 {
					return broken
				}
				return nil
			},
			asked: 3,
		},
		"Never": {
			reason: "After the timeout, the last error is the reason.",
			answer: func(int) error { return broken },
			want:   "cannot wait longer than 1s for spring: broken",
		},
		"Permanent": {
			reason: "A permanent error ends the wait.",
			answer: func(int) error { return errors.Join(io.EOF, permanentError{broken}) },
			want:   "cannot wait for spring: broken",
			asked:  1,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				err := poll(t.Context(), time.Second, "spring", func(context.Context) error {
					asked++
					return tc.answer(asked)
				})
				if got := errorText(err); !strings.Contains(got, tc.want) || (tc.want == "") != (err == nil) {
					t.Errorf("%s\npoll: %v, want %q", tc.reason, err, tc.want)
				}
				if tc.asked != 0 && asked > tc.asked {
					t.Errorf("%s\npoll asked %d times, want %d", tc.reason, asked, tc.asked)
				}
			})
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestSteps(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	s := &steps{out: &out}
	broken := errors.New("broken")
	if err := s.run("good", func() error { return nil }); err != nil {
		t.Error(err)
	}
	if err := s.run("bad", func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("do returns %v, want the step's own error", err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || strings.Contains(lines[0], "FAILED") || !strings.HasSuffix(lines[1], "FAILED") {
		t.Errorf("printed:\n%s\nwant one line per step, the second FAILED", out.String())
	}
}
