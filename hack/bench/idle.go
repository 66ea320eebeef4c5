package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// measureIdle measures what a server costs that has nothing to do.
func (b *bench) measureIdle(ctx context.Context) error {
	return b.measureAtRest(ctx, "idle_anon", "idle_cpu", nil)
}

// measureSecrets measures what Secrets cost that no pod uses.
func (b *bench) measureSecrets(ctx context.Context) error {
	return b.measureAtRest(ctx, "memory_5000_secrets", "", createSecrets)
}

// createSecrets creates many Secrets in one namespace.
func createSecrets(ctx context.Context, p *process) error {
	data := map[string][]byte{"data": make([]byte, secretSize)}
	err := inParallel("secret-", manySecrets, func(name string) error {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
		_, err := p.client.CoreV1().Secrets(metav1.NamespaceDefault).Create(ctx, secret, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot create the Secrets: %w", err)
	}
	return nil
}

// measureAtRest measures servers with the default values. An empty name drops a figure.
func (b *bench) measureAtRest(ctx context.Context, anon, cpu string, prepare func(context.Context, *process) error) error {
	costs, err := b.restOf(ctx, nil, prepare)
	for i := range costs.anon {
		b.progressf("  %.0f MB anonymous, %.2f %% of a core", costs.anon[i], costs.cpu[i])
		b.add(anon, costs.anon[i])
		b.add(cpu, costs.cpu[i])
	}
	return err
}

// restCosts is what servers cost that have nothing to do.
type restCosts struct {
	anon    []float64 // in MB
	cpu     []float64 // in percent of a core
	watches float64   // of all of them on the host, with those of the host itself
}

// restOf starts as many servers with values of the chart as there are runs, prepares each, and measures it
// at the same time after that. They idle side by side: together they leave most of a core free.
func (b *bench) restOf(ctx context.Context, values map[string]any, prepare func(context.Context, *process) error) (restCosts, error) {
	costs := restCosts{anon: make([]float64, b.runs), cpu: make([]float64, b.runs)}
	errs := make([]error, b.runs)
	var measured sync.WaitGroup
	for i := range b.runs {
		p, err := b.launchWith(ctx, values)
		if err != nil {
			return restCosts{}, err
		}
		defer p.Stop()
		quiet := p.ready
		if prepare != nil {
			if err := prepare(ctx, p); err != nil {
				return restCosts{}, err
			}
			quiet = time.Now()
		}
		measured.Go(func() {
			costs.anon[i], costs.cpu[i], errs[i] = p.restFor(ctx, quiet, b.options.idle)
		})
	}
	measured.Wait()
	watches, err := b.host.Watches()
	costs.watches = watches
	return costs, errors.Join(errors.Join(errs...), err)
}

// restFor leaves the process alone for d. It returns its anonymous memory then,
// in MB. It also returns the CPU of the second half of that time, in percent of a
// core. In the first half the start comes to an end.
func (p *process) restFor(ctx context.Context, from time.Time, d time.Duration) (anon, cpu float64, err error) {
	if err := waitUntil(ctx, from.Add(d/2)); err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	before, err := p.cpu()
	if err != nil {
		return 0, 0, err
	}
	if err := waitUntil(ctx, from.Add(d)); err != nil {
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

// waitUntil waits until a time.
func waitUntil(ctx context.Context, at time.Time) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Until(at)):
		return nil
	}
}
