package main

import "context"

// optionalKinds returns the values that switch on each kind that is off by default and that
// every host has.
func optionalKinds() map[string]any {
	on := func(names ...string) map[string]any {
		kinds := map[string]any{}
		for _, name := range names {
			kinds[name] = map[string]any{"enabled": true}
		}
		return kinds
	}
	return map[string]any{"sync": map[string]any{
		"toHost":   on("ingresses", "leases", "serviceAccounts"),
		"fromHost": on("runtimeClasses", "priorityClasses", "csiDrivers", "csiNodes", "csiStorageCapacities", "ingressClasses"),
	}}
}

// measureKinds measures what an idle server costs with all kinds on, and how many watches it
// has beyond one with the default ones. They run one after the other, so that the host has the watches of one. Once
// is enough: the watches are always the same, and the memory takes two minutes.
func (b *bench) measureKinds(ctx context.Context) error {
	few, err := b.restWith(ctx, nil)
	if err != nil {
		return err
	}
	all, err := b.restWith(ctx, optionalKinds())
	if err != nil {
		return err
	}
	b.progressf("  %.1f and %.1f MB, %.0f and %.0f watches", few.anon, all.anon, few.watches, all.watches)
	b.add("kinds_anon", all.anon)
	b.add("kinds_watches", all.watches-few.watches)
	return nil
}

// restCost is what a server costs that has nothing to do.
type restCost struct {
	anon    float64 // in MB
	watches float64 // on the host, with those of the host itself
}

// restWith runs a server with values of the chart, and measures it at rest.
func (b *bench) restWith(ctx context.Context, values map[string]any) (restCost, error) {
	p, err := b.launchWith(ctx, values)
	if err != nil {
		return restCost{}, err
	}
	defer p.Stop()
	anon, _, err := p.restFor(ctx, p.ready, b.options.idle)
	if err != nil {
		return restCost{}, err
	}
	watches, err := b.host.Watches()
	return restCost{anon: anon, watches: watches}, err
}
