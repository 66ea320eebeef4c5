package main

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// movedObjects is the number of ConfigMaps that move, and movedSize what each has.
	movedObjects = 10_000
	movedSize    = 1 << 10
)

// moveStore is a store between which a virtual cluster moves.
type moveStore struct {
	name     string
	settings map[string]any // of controlPlane.backingStore
}

// measureMove moves a virtual cluster between any two of the stores, in each direction. The
// figure is the longest time from the end of the server on one store until it is ready on
// the other. The copy and its verification are part of it.
func (b *bench) measureMove(ctx context.Context) error {
	stores, stop, err := b.moveStores(ctx)
	defer stop()
	if err != nil {
		return err
	}
	p, err := b.startServer(ctx)
	if err != nil {
		return err
	}
	defer func() { p.Stop() }()
	if err := createConfigMaps(ctx, p); err != nil {
		return err
	}
	longest := 0.0
	tour := tourOf(len(stores))
	for i, next := range tour[1:] {
		from, to := stores[tour[i]], stores[next]
		away, err := p.move(ctx, from, to)
		if err != nil {
			return fmt.Errorf("cannot move from %s to %s: %w", from.name, to.name, err)
		}
		b.progressf("  from %s to %s: away for %.2f s", from.name, to.name, away.Seconds())
		longest = max(longest, away.Seconds())
	}
	b.add("store_move", longest)
	return nil
}

// moveStores returns the embedded etcd, where a virtual cluster begins, and the other
// stores. stop ends those that were started.
func (b *bench) moveStores(ctx context.Context) (stores []moveStore, stop func(), err error) {
	var started []func()
	stop = func() {
		for _, end := range started {
			end()
		}
	}
	stores = []moveStore{{"etcd_embedded", map[string]any{"etcd": map[string]any{"embedded": map[string]any{"enabled": true}}}}}
	for _, store := range benchStores() {
		values, end, err := store.values(ctx, b)
		if err != nil {
			return nil, stop, err
		}
		if values == nil {
			b.progressf("  left out %s: set -%s to the data source of a server", store.name, store.name)
			continue
		}
		started = append(started, end)
		plane, _ := values["controlPlane"].(map[string]any)
		settings, ok := plane["backingStore"].(map[string]any)
		if !ok {
			return nil, stop, fmt.Errorf("store %s has no settings", store.name)
		}
		stores = append(stores, moveStore{store.name, settings})
	}
	return stores, stop, nil
}

// tourOf returns an order of numbers below n in which each number follows each other one
// once. It begins and ends with 0.
func tourOf(n int) []int {
	var tour []int
	for i := range n {
		for j := i + 1; j < n; j++ {
			tour = append(tour, i, j)
		}
	}
	return append(tour, 0)
}

// createConfigMaps creates the objects that move.
func createConfigMaps(ctx context.Context, p *process) error {
	data := map[string][]byte{"data": make([]byte, movedSize)}
	err := inParallel("moved-", movedObjects, func(name string) error {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, BinaryData: data}
		_, err := p.client.CoreV1().ConfigMaps(metav1.NamespaceDefault).Create(ctx, object, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot create the ConfigMaps: %w", err)
	}
	return nil
}

// move starts the server again on another store, and verifies that it has all objects. It
// returns how long the API was away.
func (p *process) move(ctx context.Context, from, to moveStore) (time.Duration, error) {
	settings := maps.Clone(to.settings)
	settings["moveFrom"] = from.settings
	if err := p.Upgrade(ctx, map[string]any{"controlPlane": map[string]any{"backingStore": settings}}); err != nil {
		return 0, err
	}
	begin := time.Now()
	p.Stop()
	server, err := p.Again()
	if err != nil {
		return 0, err
	}
	p.Server = server
	if err := p.connect(ctx); err != nil {
		return 0, err
	}
	all, err := p.client.CoreV1().ConfigMaps(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	if len(all.Items) < movedObjects {
		return 0, fmt.Errorf("%d of %d ConfigMaps have arrived", len(all.Items), movedObjects)
	}
	return p.ready.Sub(begin), nil
}
