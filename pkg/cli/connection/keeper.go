package connection

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// stageFlag names which part of a tunnel a process is. The keeper is started without it.
	stageFlag = "--stage="
	// StageServe is the process that serves the connections.
	StageServe = "serve"
	// StageKeep is a keeper that takes over the listener of a process that served.
	StageKeep = "keep"

	// Files that a process of a tunnel gets from the one before: the listener, and a pipe that ends with its keeper.
	listenerFile = 3
	keeperFile   = 4

	// restartPause is the least time between two starts of the process that serves.
	restartPause = time.Second
)

// tunnelProcess is one of the two processes of a tunnel in the background. The keeper holds the listener. It starts the
// process that serves the listener, again whenever that ends. If the keeper ends, the serving process becomes the
// keeper. So a tunnel survives the kill of either. Connections wait in the listener meanwhile.
type tunnelProcess struct {
	// arguments are those of this program.
	arguments []string
	// serve serves the listener until its context ends.
	serve func(ctx context.Context, listener net.Listener) error
	// awaitEnd returns once nobody needs the tunnel.
	awaitEnd func(ctx context.Context)
}

// runKeeper starts the process that serves, again and again, until nobody needs the tunnel.
func (p *tunnelProcess) runKeeper(ctx context.Context, listener *os.File) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		p.awaitEnd(ctx)
	}()
	for ctx.Err() == nil {
		pause := time.NewTimer(restartPause)
		if err := p.runServingProcess(ctx, listener); err != nil {
			pause.Stop()
			return err
		}
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
	return nil
}

// runServingProcess runs the process that serves until it ends, or ctx does.
func (p *tunnelProcess) runServingProcess(ctx context.Context, listener *os.File) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	life, held, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot start the tunnel: %w", err)
	}
	defer held.Close()
	defer life.Close()
	other := exec.CommandContext(ctx, program, p.argumentsFor(StageServe)...) //nolint:gosec // it is this program
	other.ExtraFiles = []*os.File{listenerFile - 3: listener, keeperFile - 3: life}
	// It is killed with ctx, and whatever ends it is a reason to start another one.
	_ = other.Run()
	return nil
}

// argumentsFor returns the arguments of this program for another stage.
func (p *tunnelProcess) argumentsFor(stage string) []string {
	return append(slices.DeleteFunc(slices.Clone(p.arguments), func(argument string) bool {
		return strings.HasPrefix(argument, stageFlag)
	}), stageFlag+stage)
}

// runServer serves the listener of the keeper. Once the keeper is gone, this process becomes the keeper.
func (p *tunnelProcess) runServer(ctx context.Context) error {
	unix.CloseOnExec(listenerFile)
	unix.CloseOnExec(keeperFile)
	file, life := os.NewFile(listenerFile, "listener"), os.NewFile(keeperFile, "keeper")
	listener, err := net.FileListener(file)
	if err != nil {
		return fmt.Errorf("cannot use the listener of the tunnel: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, life)
		p.becomeKeeper(file)
	}()
	return p.serve(ctx, listener)
}

// becomeKeeper replaces this process by a keeper with the same listener. It only returns if that fails.
func (p *tunnelProcess) becomeKeeper(listener *os.File) {
	program, err := os.Executable()
	if err != nil {
		return
	}
	if _, err := unix.FcntlInt(listener.Fd(), unix.F_SETFD, 0); err != nil {
		return
	}
	_ = syscall.Exec(program, append([]string{program}, p.argumentsFor(StageKeep)...), os.Environ()) //nolint:gosec // it is this program
}
