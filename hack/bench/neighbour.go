package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// floodPriority is the priority of the flood and of the server that it meets: the least. On
// a node the kernel divides the CPU among pods. Here it divides it among processes, and
// without this the flood would measure the scheduler of this machine.
const floodPriority = 19

// measureNeighbour measures what a flood in one virtual cluster does to another one on the
// same host. Each run measures the neighbour before the flood and during it.
func (b *bench) measureNeighbour(ctx context.Context) error {
	return b.eachRun(ctx, nil, func(p *process, run int) error { return b.neighbourOnce(ctx, p, run) })
}

func (b *bench) neighbourOnce(ctx context.Context, p *process, run int) error {
	alone, err := b.runningTimes(ctx, p, fmt.Sprintf("alone-%d-", run))
	if err != nil {
		return err
	}
	stop, err := b.startFlood(ctx)
	if err != nil {
		return err
	}
	flooded, err := b.runningTimes(ctx, p, fmt.Sprintf("flooded-%d-", run))
	if stopErr := stop(); err == nil {
		err = stopErr
	}
	if err != nil {
		return err
	}
	b.progressf("  create to Running: alone %.0f / %.0f ms, under the flood %.0f / %.0f ms", percentile(alone, 50), percentile(alone, 99),
		percentile(flooded, 50), percentile(flooded, 99))
	b.add("neighbour_p50_ratio", percentile(flooded, 50)/percentile(alone, 50))
	b.add("neighbour_p99_ratio", percentile(flooded, 99)/percentile(alone, 99))
	return nil
}

// runningTimes creates pods one after the other. It returns the time of each from just before
// its create call to the tenant's watch event with phase Running, in milliseconds.
func (b *bench) runningTimes(ctx context.Context, p *process, prefix string) ([]float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	host, virtual, err := b.followBoth(ctx, p)
	if err != nil {
		return nil, err
	}
	created, err := createPaced(ctx, p, prefix)
	if err != nil {
		return nil, err
	}
	if err := virtual.wait(ctx, pacedPods, "pods are Running", isDone); err != nil {
		return nil, err
	}
	var times []float64
	seen := virtual.all()
	for name, at := range created {
		times = append(times, milliseconds(seen[name].done.Sub(at)))
	}
	return times, clearPods(ctx, p.client, metav1.NamespaceDefault, virtual, host)
}

// startFlood starts another virtual cluster and a flood in it, and returns when the flood has
// lasted a while. stop ends both, and deletes what they left on the host.
func (b *bench) startFlood(ctx context.Context) (stop func() error, err error) {
	p, err := b.startServer(ctx)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := p.Kubeconfig(ctx)
	if err != nil {
		p.Stop()
		return nil, err
	}
	path := filepath.Join(b.dir, p.Namespace()+".kubeconfig")
	if err := os.WriteFile(path, kubeconfig, 0o600); err != nil {
		p.Stop()
		return nil, fmt.Errorf("cannot write the kubeconfig of the flood: %w", err)
	}
	flood := exec.CommandContext(ctx, os.Args[0], "-flood", path)
	flood.Stderr = b.progress
	if err := flood.Start(); err != nil {
		p.Stop()
		return nil, fmt.Errorf("cannot start the flood: %w", err)
	}
	stop = func() error {
		_ = flood.Process.Kill()
		_ = flood.Wait()
		copies, err := b.host.Client().CoreV1().Pods(p.Namespace()).List(ctx, metav1.ListOptions{})
		if err == nil {
			b.progressf("  the flood has %d pods on the host", len(copies.Items))
		}
		p.Stop()
		return b.deleteNamespace(ctx, p.Namespace())
	}
	for _, pid := range []int{p.PID(), flood.Process.Pid} {
		if err := lowerPriority(pid); err != nil {
			return nil, fmt.Errorf("%w; %w", err, stop())
		}
	}
	select {
	case <-ctx.Done():
	case <-time.After(floodPause):
	}
	return stop, nil
}

// lowerPriority gives all threads of a process the least priority. Those that come later
// inherit it.
func lowerPriority(pid int) error {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return fmt.Errorf("cannot list the threads of the flood: %w", err)
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			continue
		}
		if err := syscall.Setpriority(syscall.PRIO_PROCESS, id, floodPriority); err != nil {
			return fmt.Errorf("cannot lower the priority of the flood: %w", err)
		}
	}
	return nil
}

// deleteNamespace deletes a namespace of the host with all that is in it, and waits for that.
func (b *bench) deleteNamespace(ctx context.Context, name string) error {
	namespaces := b.host.Client().CoreV1().Namespaces()
	if err := namespaces.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot delete namespace %s: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	for {
		_, err := namespaces.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot delete namespace %s: %w", name, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
