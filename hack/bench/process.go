package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
)

// startTimeout is how long a server may take to get ready before the benchmark
// gives up.
const startTimeout = time.Minute

// process is a running server with a tenant's client.
type process struct {
	*tenant.Server
	*tenant.Release
	ready  time.Time
	client kubernetes.Interface
}

// startServer installs the chart and starts its server, and waits until it is ready.
func (b *bench) startServer(ctx context.Context) (*process, error) {
	return b.launchWith(ctx, nil)
}

// launchWith does the same as launch, with values of the chart.
func (b *bench) launchWith(ctx context.Context, values map[string]any) (*process, error) {
	return b.launchBuild(ctx, b.tenant, values)
}

// launchBuild does the same as launchWith, with the chart and the server of a build.
func (b *bench) launchBuild(ctx context.Context, o tenant.Options, values map[string]any) (*process, error) {
	release, err := b.install(ctx, o, values)
	if err != nil {
		return nil, err
	}
	server, err := release.Run(ctx, b.dir)
	if err != nil {
		return nil, err
	}
	p := &process{Server: server, Release: release}
	if err := p.connect(ctx); err != nil {
		server.Stop()
		return nil, err
	}
	return p, nil
}

func (p *process) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var err error
	if p.ready, err = p.WaitReady(ctx); err != nil {
		return err
	}
	config, err := p.Config(ctx)
	if err != nil {
		return err
	}
	p.client, err = kubernetes.NewForConfig(config)
	return err
}

// ticksPerSecond is the unit of the CPU times in /proc, fixed on Linux.
const ticksPerSecond = 100

// cpu returns the CPU time that the process has used, in user space and in the kernel.
func (p *process) cpu() (time.Duration, error) { return cpuOf(strconv.Itoa(p.PID())) }

// bothCPU is the CPU time of the server and of this process, which is the host.
type bothCPU struct{ server, host time.Duration }

func cpuOfBoth(p *process) (both bothCPU, err error) {
	if both.server, err = p.cpu(); err != nil {
		return both, err
	}
	both.host, err = cpuOf("self")
	return both, err
}

func cpuOf(process string) (time.Duration, error) {
	content, err := os.ReadFile("/proc/" + process + "/stat")
	if err != nil {
		return 0, fmt.Errorf("cannot read the CPU time: %w", err)
	}
	return parseCPU(string(content))
}

// parseCPU reads utime and stime, the 14th and 15th field. The second field, the
// name, may hold anything, so counting begins behind its closing parenthesis.
func parseCPU(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("cannot read the CPU time from %q", stat)
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("cannot read the CPU time from %q: %w", stat, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// anon returns the anonymous memory of the process in MB: what it cannot give back,
// unlike the pages of its binary.
func (p *process) anon() (float64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, fmt.Errorf("cannot read the memory: %w", err)
	}
	return parseAnon(content)
}

func parseAnon(status []byte) (float64, error) {
	for line := range strings.Lines(string(status)) {
		value, found := strings.CutPrefix(line, "RssAnon:")
		if !found {
			continue
		}
		kibibytes, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
		if err != nil {
			return 0, fmt.Errorf("cannot read the memory from %q: %w", line, err)
		}
		return kibibytes * 1024 / 1e6, nil
	}
	return 0, errors.New("cannot read the memory: no RssAnon in the process status")
}
