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

// withoutLaterKinds returns the values that switch off what is on by default since every common kind is synced.
func withoutLaterKinds() map[string]any {
	off := map[string]any{"enabled": false}
	return map[string]any{"sync": map[string]any{
		"toHost": map[string]any{"networkPolicies": off, "podDisruptionBudgets": off},
	}}
}

// measureKinds measures what idle servers cost with all kinds on, and what those cost that the default
// settings got later than the others.
func (b *bench) measureKinds(ctx context.Context) error {
	var costs [3]restCosts
	for i, values := range []map[string]any{withoutLaterKinds(), nil, optionalKinds()} {
		found, err := b.restOf(ctx, values, nil)
		if err != nil {
			return err
		}
		b.progressf("  %s MB, %.0f watches of all", formatAll(found.anon), found.watches)
		costs[i] = found
	}
	few, some, all := costs[0], costs[1], costs[2]
	b.add("kinds_later_mb", median(some.anon)-median(few.anon))
	b.add("kinds_later_watches", (some.watches-few.watches)/float64(b.runs))
	b.add("kinds_anon", median(all.anon))
	b.add("kinds_watches", (all.watches-some.watches)/float64(b.runs))
	return nil
}
