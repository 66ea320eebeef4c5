package hostlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is identified by its pid and its start time, in clock ticks since boot. So a
// pid that the kernel has used again is another process.
type process struct {
	pid   int
	start string
}

// String returns the content of a pid file.
func (p process) String() string { return fmt.Sprintf("%d %s\n", p.pid, p.start) }

// isRunning reports whether the process still runs.
func (p process) isRunning() bool {
	now, err := readProcess(p.pid)
	return err == nil && now == p
}

// readProcess finds the process that has a pid now. A zombie counts as gone.
func readProcess(pid int) (process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	return parseStat(pid, string(stat))
}

// parseStat reads /proc/PID/stat. The name in parentheses may contain any character, so
// fields count from the last closing one. The state is the first after it, the start
// time the twentieth.
func parseStat(pid int, stat string) (process, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return process{}, fmt.Errorf("cannot read the status of process %d", pid)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return process{}, fmt.Errorf("process %d has ended", pid)
	}
	return process{pid: pid, start: fields[19]}, nil
}

// parsePID reads the content of a pid file.
func parsePID(text string) (process, error) {
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return process{}, errors.New("a pid file holds a pid and a start time")
	}
	pid, err := strconv.Atoi(fields[0])
	return process{pid: pid, start: fields[1]}, err
}

// daemons are processes that outlive the one that starts them, each with a pid
// file and a log file of its name.
type daemons struct {
	run, log string // folders
}

func (d daemons) pidFile(name string) string { return filepath.Join(d.run, name+".pid") }
func (d daemons) logFile(name string) string { return filepath.Join(d.log, name+".log") }

// readPIDFile returns the running process of that name.
func (d daemons) readPIDFile(name string) (process, bool) {
	text, err := os.ReadFile(d.pidFile(name))
	if err != nil {
		return process{}, false
	}
	p, err := parsePID(string(text))
	return p, err == nil && p.isRunning()
}

// start starts a command as a daemon, in a session of its own, unless one of that
// name runs.
func (d daemons) start(name string, command *exec.Cmd) error {
	if _, ok := d.readPIDFile(name); ok {
		return nil
	}
	log, err := os.OpenFile(d.logFile(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("cannot open the log of %s: %w", name, err)
	}
	defer func() { _ = log.Close() }()
	command.Stdout, command.Stderr = log, log
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Setsid = true
	if err := command.Start(); err != nil {
		return fmt.Errorf("cannot start %s: %w", name, err)
	}
	p, err := readProcess(command.Process.Pid)
	if err == nil {
		err = os.WriteFile(d.pidFile(name), []byte(p.String()), 0o644)
	}
	// Whoever lives long enough to see the daemon end takes its exit status.
	go func() { _ = command.Wait() }()
	if err != nil {
		return fmt.Errorf("cannot record the pid of %s: %w", name, errors.Join(err, d.logTail(name)))
	}
	return nil
}

// checkRunning returns nil while the daemon runs. Otherwise it returns a [permanentError]
// with the end of the log.
func (d daemons) checkRunning(name string) error {
	if _, ok := d.readPIDFile(name); ok {
		return nil
	}
	return permanentError{fmt.Errorf("%s has ended: %w", name, d.logTail(name))}
}

// logTail returns the end of a daemon's log, as an error.
func (d daemons) logTail(name string) error {
	text, err := os.ReadFile(d.logFile(name))
	if err != nil {
		return err
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	lines = lines[max(0, len(lines)-8):]
	return fmt.Errorf("end of %s:\n%s", d.logFile(name), bytes.Join(lines, []byte("\n")))
}

// stop ends a daemon by SIGTERM, and by SIGKILL after the grace period.
func (d daemons) stop(ctx context.Context, name string, grace time.Duration) error {
	if p, ok := d.readPIDFile(name); ok {
		if err := stopProcess(ctx, p, grace); err != nil {
			return fmt.Errorf("cannot stop %s: %w", name, err)
		}
	}
	if err := os.Remove(d.pidFile(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func stopProcess(ctx context.Context, p process, grace time.Duration) error {
	gone := func(context.Context) error {
		if p.isRunning() {
			return fmt.Errorf("process %d runs", p.pid)
		}
		return nil
	}
	_ = syscall.Kill(p.pid, syscall.SIGTERM)
	if poll(ctx, grace, "its end", gone) == nil {
		return nil
	}
	_ = syscall.Kill(p.pid, syscall.SIGKILL)
	return poll(ctx, 5*time.Second, "its end", gone)
}

// runForOutput runs a command to its end and returns its output. An error has the output too.
func runForOutput(command *exec.Cmd) (string, error) {
	var out, diagnostics bytes.Buffer
	command.Stdout, command.Stderr = &out, &diagnostics
	if err := command.Run(); err != nil {
		output := bytes.TrimSpace(append(diagnostics.Bytes(), out.Bytes()...))
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(command.Args, " "), err, output)
	}
	return out.String(), nil
}
