package main

import (
	"context"
	"fmt"

	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
)

// comparedBursts is how many bursts of each build are compared per run. A machine whose speed
// changes from minute to minute needs many short ones.
const comparedBursts = 3

// measureCompared compares bursts of pods with those of another build, which flags name. Both
// servers run on one host and take turns, so that a slow moment of the machine meets both.
func (b *bench) measureCompared(ctx context.Context) error {
	if b.base.Server == "" {
		b.progressf("  left out, as -base-server names no other build")
		return nil
	}
	for _, c := range []struct {
		values    map[string]any
		took, cpu string
	}{
		{nil, "base_burst", "base_pod_cpu"},
		{withScheduler(), "base_sched_burst", "base_sched_cpu"},
	} {
		if !b.wanted(c.took) && !b.wanted(c.cpu) {
			continue
		}
		if err := b.compareBursts(ctx, c.values, c.took, c.cpu); err != nil {
			return err
		}
	}
	return nil
}

// compareBursts adds the time and the CPU of the server in a burst, each divided by those of the
// other build.
func (b *bench) compareBursts(ctx context.Context, values map[string]any, took, cpu string) error {
	servers := make([]*process, 2)
	for i, o := range []tenant.Options{b.tenant, b.base} {
		p, err := b.launchBuild(ctx, o, values)
		if err != nil {
			return err
		}
		defer p.Stop()
		if err := b.warm(ctx, p); err != nil {
			return err
		}
		if _, err := b.burstVirtual(ctx, p, "warm-"); err != nil {
			return err
		}
		servers[i] = p
	}
	for run := range b.runs {
		var sums [2]burst
		for turn := range comparedBursts {
			for i := range servers {
				// Who comes first alternates too.
				i = (i + turn + run) % len(servers)
				one, err := b.burstVirtual(ctx, servers[i], fmt.Sprintf("compared-%d-%d-", run, turn))
				if err != nil {
					return err
				}
				sums[i].running += one.running
				sums[i].cpu += one.cpu
			}
		}
		b.progressf("  all Running: %.2f s, %.2f s with the other build; CPU of the server per pod: %.2f ms, %.2f ms with the other build",
			sums[0].running.Seconds()/comparedBursts, sums[1].running.Seconds()/comparedBursts,
			milliseconds(sums[0].cpu)/burstPods/comparedBursts, milliseconds(sums[1].cpu)/burstPods/comparedBursts)
		b.add(took, float64(sums[0].running)/float64(sums[1].running))
		b.add(cpu, float64(sums[0].cpu)/float64(sums[1].cpu))
	}
	return nil
}
