package main

import (
	"context"
	"fmt"
)

// benchStore is a store other than the default. Its figures begin with its name.
type benchStore struct {
	name string
	// values starts the store if it needs that, and returns the values that use it. No
	// values leave the store out.
	values func(context.Context, *bench) (values map[string]any, stop func(), err error)
}

// benchStores returns the stores to measure. Figures without the name of a store are of
// the embedded etcd.
func benchStores() []benchStore {
	return []benchStore{
		{"etcd_external", func(ctx context.Context, b *bench) (map[string]any, func(), error) {
			endpoint, stop, err := b.startEtcd(ctx)
			return onEtcd(endpoint, 1), stop, err
		}},
		{"sqlite", func(context.Context, *bench) (map[string]any, func(), error) {
			return onDatabase("embedded", map[string]any{"enabled": true}), func() {}, nil
		}},
		{"postgres", func(_ context.Context, b *bench) (map[string]any, func(), error) { return onServer(b.postgres) }},
		{"mariadb", func(_ context.Context, b *bench) (map[string]any, func(), error) { return onServer(b.mariadb) }},
	}
}

// onDatabase returns the values of a virtual cluster on a database.
func onDatabase(kind string, settings map[string]any) map[string]any {
	return map[string]any{"controlPlane": map[string]any{
		"backingStore": map[string]any{"database": map[string]any{kind: settings}},
	}}
}

// onServer returns the values of a virtual cluster on a running database server. It
// returns none without a data source.
func onServer(source string) (map[string]any, func(), error) {
	if source == "" {
		return nil, nil, nil
	}
	return onDatabase("external", map[string]any{"enabled": true, "dataSource": source}), func() {}, nil
}

// storeGroups returns the groups of figures of each store.
func storeGroups() []group {
	var all []group
	for _, store := range benchStores() {
		var names []string
		for _, figure := range []string{"start_ready", "start_first_pod", "pod_down_p50", "pod_down_p99", "pod_up_p50", "pod_up_p99"} {
			names = append(names, store.name+"_"+figure)
		}
		all = append(all, group{names, func(b *bench, ctx context.Context) error { return b.measureStore(ctx, store) }})
	}
	return all
}

// measureStore measures starts and single pods with a store.
func (b *bench) measureStore(ctx context.Context, store benchStore) error {
	values, stop, err := store.values(ctx, b)
	if err != nil {
		return fmt.Errorf("cannot start the store: %w", err)
	}
	if values == nil {
		b.progressf("  left out: set -%s to the data source of a server", store.name)
		return nil
	}
	defer stop()
	begin := store.name + "_"
	for range b.runs {
		if err := b.startOnce(ctx, values, begin); err != nil {
			return err
		}
	}
	return b.eachRun(ctx, values, func(p *process, run int) error {
		return b.podsOnce(ctx, p, fmt.Sprintf("paced-%d-", run), begin)
	})
}
