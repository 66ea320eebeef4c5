package main

import (
	"context"
	"errors"
	"sync"
	"time"
)

// idle measures what a server costs that has nothing to do.
func (b *bench) idle(ctx context.Context) error {
	return b.rest(ctx, "idle_anon", "idle_cpu")
}

// rest starts as many servers as there are runs and measures each at the same
// time after it became ready. They idle side by side, which none of them notices:
// all of them together leave most of a core free.
func (b *bench) rest(ctx context.Context, anon, cpu string) error {
	type result struct {
		anon, cpu float64
		err       error
	}
	results := make([]result, b.runs)
	var watches sync.WaitGroup
	for i := range b.runs {
		p, err := b.launch(ctx)
		if err != nil {
			return err
		}
		defer p.Stop()
		watches.Go(func() {
			r := &results[i]
			r.anon, r.cpu, r.err = p.restFor(ctx, b.options.idle)
		})
	}
	watches.Wait()
	var errs []error
	for _, r := range results {
		b.say("  %.0f MB anonymous, %.2f %% of a core", r.anon, r.cpu)
		b.add(anon, r.anon)
		b.add(cpu, r.cpu)
		errs = append(errs, r.err)
	}
	return errors.Join(errs...)
}

// restFor leaves the process alone for d after it became ready and returns its
// anonymous memory then, in MB, and the CPU that it used in the second half of
// that time, in percent of a core. In the first half the start comes to an end.
func (p *process) restFor(ctx context.Context, d time.Duration) (anon, cpu float64, err error) {
	if err := until(ctx, p.ready.Add(d/2)); err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	before, err := p.cpu()
	if err != nil {
		return 0, 0, err
	}
	if err := until(ctx, p.ready.Add(d)); err != nil {
		return 0, 0, err
	}
	after, err := p.cpu()
	if err != nil {
		return 0, 0, err
	}
	cpu = 100 * float64(after-before) / float64(time.Since(begun))
	anon, err = p.anon()
	return anon, cpu, err
}

func until(ctx context.Context, at time.Time) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Until(at)):
		return nil
	}
}
