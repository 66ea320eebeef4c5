package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"github.com/sublet-dev/sublet/api/labels"
)

const (
	// customGroup is the group of the made-up kinds.
	customGroup = "bench.example.com"
	// customKinds is how many of them cost memory.
	customKinds = 30
	// customObjects is how many objects of one are synced, and customStatuses how many of those
	// get a status, one each customPause.
	customObjects  = 10_000
	customStatuses = 500
	customPause    = 20 * time.Millisecond
)

// customResource returns the resource of a made-up kind.
func customResource(i int) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: customGroup, Version: "v1", Resource: fmt.Sprintf("widget%ds", i)}
}

// defineCustomKinds gives the host the definitions of the made-up kinds, unless it has them.
func (b *bench) defineCustomKinds(ctx context.Context) error {
	client, err := apiextensionsclient.NewForConfig(b.host.Config())
	if err != nil {
		return err
	}
	text := apiextensionsv1.JSONSchemaProps{Type: "string"}
	object := func(properties map[string]apiextensionsv1.JSONSchemaProps) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Type: "object", Properties: properties}
	}
	root := object(map[string]apiextensionsv1.JSONSchemaProps{
		"spec":   object(map[string]apiextensionsv1.JSONSchemaProps{"data": text}),
		"status": object(map[string]apiextensionsv1.JSONSchemaProps{"phase": text}),
	})
	for i := range customKinds {
		resource := customResource(i)
		kind := fmt.Sprintf("Widget%d", i)
		definition := &apiextensionsv1.CustomResourceDefinition{
			ObjectMeta: metav1.ObjectMeta{Name: resource.GroupResource().String()},
			Spec: apiextensionsv1.CustomResourceDefinitionSpec{
				Group: customGroup, Scope: apiextensionsv1.NamespaceScoped,
				Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: resource.Resource, Kind: kind},
				Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
					Name: resource.Version, Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &root},
					Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
				}},
			},
		}
		_, err := client.ApiextensionsV1().CustomResourceDefinitions().Create(ctx, definition, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("cannot define %s: %w", kind, err)
		}
	}
	return nil
}

// syncingCustom returns the values that sync some of the made-up kinds, and every ConfigMap, in
// any number.
func syncingCustom(kinds int) map[string]any {
	resources, none := map[string]any{}, map[string]any{"configmaps": 0, "others": 0}
	for i := range kinds {
		resources[customResource(i).GroupResource().String()] = map[string]any{"enabled": true}
	}
	return map[string]any{
		"sync": map[string]any{"toHost": map[string]any{"customResources": resources, "configMaps": map[string]any{"all": true}}},
		"policies": map[string]any{
			"resourceQuota": map[string]any{"enabled": false},
			"objects":       map[string]any{"count": none, "bytes": map[string]any{"others": 0}},
		},
	}
}

// measureCustom measures how fast objects of a made-up kind reach the host, relative to
// ConfigMaps of that size, and how fast a status comes back.
func (b *bench) measureCustom(ctx context.Context) error {
	if err := b.defineCustomKinds(ctx); err != nil {
		return err
	}
	for range b.runs {
		if err := b.measureCustomOnce(ctx); err != nil {
			return err
		}
	}
	return nil
}

// measureCustomOnce does one run of measureCustom.
func (b *bench) measureCustomOnce(ctx context.Context) error {
	p, err := b.launchWith(ctx, syncingCustom(1))
	if err != nil {
		return err
	}
	defer p.Stop()
	config, err := p.Config(ctx)
	if err != nil {
		return err
	}
	config.QPS = -1
	s := &customSides{b: b, namespace: p.Namespace()}
	if s.virtual, err = dynamic.NewForConfig(config); err != nil {
		return err
	}
	if s.host, err = dynamic.NewForConfig(b.host.Config()); err != nil {
		return err
	}
	widgets := customResource(0)
	if err := s.awaitKind(ctx, widgets); err != nil {
		return err
	}
	configMaps, err := s.fill(ctx, schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, "ConfigMap", "data")
	if err != nil {
		return err
	}
	custom, err := s.fill(ctx, widgets, "Widget0", "spec")
	if err != nil {
		return err
	}
	b.progressf("  %d ConfigMaps in %.1f s, %d custom resources in %.1f s", customObjects, configMaps.Seconds(), customObjects, custom.Seconds())
	b.add("custom_sync_ratio", configMaps.Seconds()/custom.Seconds())
	lags, err := s.returnStatuses(ctx, widgets)
	if err != nil {
		return err
	}
	b.add("custom_status_p50", percentile(lags, 50))
	b.add("custom_status_p99", percentile(lags, 99))
	return nil
}

// customSides has clients of both sides of a release.
type customSides struct {
	b             *bench
	namespace     string // of the release
	virtual, host dynamic.Interface
}

// awaitKind waits until the virtual cluster serves a resource.
func (s *customSides) awaitKind(ctx context.Context, resource schema.GroupVersionResource) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		_, err := s.virtual.Resource(resource).Namespace(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{Limit: 1})
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("cannot list %s: %w", resource.Resource, err)
		}
		if err := waitUntil(ctx, time.Now().Add(50*time.Millisecond)); err != nil {
			return err
		}
	}
}

// watchObjects watches the objects of a resource on one side, by their virtual names. done
// reports whether one is done.
func (s *customSides) watchObjects(ctx context.Context, side dynamic.ResourceInterface, selector string, done func(*unstructured.Unstructured) bool) (*watcher, error) {
	return startWatcher(ctx, subject[*unstructured.Unstructured]{
		list: func(ctx context.Context) ([]*unstructured.Unstructured, string, error) {
			list, err := side.List(ctx, metav1.ListOptions{LabelSelector: selector})
			if err != nil {
				return nil, "", err
			}
			var objects []*unstructured.Unstructured
			for i := range list.Items {
				objects = append(objects, &list.Items[i])
			}
			return objects, list.GetResourceVersion(), nil
		},
		watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = selector
			return side.Watch(ctx, o)
		},
		name: func(object *unstructured.Unstructured) string {
			if name := object.GetAnnotations()[labels.VirtualName]; name != "" {
				return name
			}
			return object.GetName()
		},
		done: done,
	})
}

// fill creates many objects of a kind, and returns how long it takes until the host has the
// copy of each. Their data is in a field of that name.
func (s *customSides) fill(ctx context.Context, resource schema.GroupVersionResource, kind, field string) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := s.watchObjects(ctx, s.host.Resource(resource).Namespace(s.namespace), labels.Cluster, func(*unstructured.Unstructured) bool { return true })
	if err != nil {
		return 0, err
	}
	before, _, _ := w.count(isDone)
	data := map[string]any{"data": strings.Repeat("x", movedSize)}
	begun := time.Now()
	err = inParallel("object-", customObjects, func(name string) error {
		object := &unstructured.Unstructured{Object: map[string]any{field: maps.Clone(data)}}
		object.SetGroupVersionKind(resource.GroupVersion().WithKind(kind))
		object.SetName(name)
		_, err := s.virtual.Resource(resource).Namespace(metav1.NamespaceDefault).Create(ctx, object, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("cannot create objects of %s: %w", kind, err)
	}
	if err := w.wait(ctx, before+customObjects, kind, isDone); err != nil {
		return 0, err
	}
	return w.latest(doneAt).Sub(begun), nil
}

// returnStatuses writes the status of some host copies, as a controller of the host does. It
// returns how long each takes to the tenant's watch event that has it, in milliseconds.
func (s *customSides) returnStatuses(ctx context.Context, resource schema.GroupVersionResource) ([]float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := s.watchObjects(ctx, s.virtual.Resource(resource).Namespace(metav1.NamespaceDefault), "", func(object *unstructured.Unstructured) bool {
		phase, _, _ := unstructured.NestedString(object.Object, "status", "phase")
		return phase == "Ready"
	})
	if err != nil {
		return nil, err
	}
	host := s.host.Resource(resource).Namespace(s.namespace)
	copies, err := host.List(ctx, metav1.ListOptions{LabelSelector: labels.Cluster, Limit: customStatuses})
	if err != nil {
		return nil, err
	}
	written := map[string]time.Time{}
	for i := range copies.Items {
		object := &copies.Items[i]
		object.Object["status"] = map[string]any{"phase": "Ready"}
		written[object.GetAnnotations()[labels.VirtualName]] = time.Now()
		if _, err := host.UpdateStatus(ctx, object, metav1.UpdateOptions{}); err != nil {
			return nil, fmt.Errorf("cannot write a status on the host: %w", err)
		}
		if err := waitUntil(ctx, time.Now().Add(customPause)); err != nil {
			return nil, err
		}
	}
	if err := w.wait(ctx, len(written), "statuses", isDone); err != nil {
		return nil, err
	}
	var lags []float64
	seen := w.all()
	for name, at := range written {
		lags = append(lags, milliseconds(seen[name].done.Sub(at)))
	}
	return lags, nil
}

// measureCustomKinds measures what made-up kinds cost an idle server: one of them, beyond the
// first, and all.
func (b *bench) measureCustomKinds(ctx context.Context) error {
	if err := b.defineCustomKinds(ctx); err != nil {
		return err
	}
	counts := []int{0, 1, customKinds}
	for range b.runs {
		costs, failures := make([]float64, len(counts)), make([]error, len(counts))
		var resting sync.WaitGroup
		for i, count := range counts {
			p, err := b.launchWith(ctx, syncingCustom(count))
			if err != nil {
				return err
			}
			resting.Go(func() {
				defer p.Stop()
				costs[i], _, failures[i] = p.restFor(ctx, p.ready, b.options.idle)
			})
		}
		resting.Wait()
		if err := errors.Join(failures...); err != nil {
			return err
		}
		b.progressf("  %.1f MB without, %.1f MB with one kind, %.1f MB with %d", costs[0], costs[1], costs[2], customKinds)
		b.add("custom_kind_mb", (costs[2]-costs[1])/(customKinds-1))
		b.add("custom_30_kinds_mb", costs[2]-costs[0])
	}
	return nil
}

// customFigures returns the figures of custom resources. The copies are of one made-up kind,
// whose objects have 1 KiB each.
func customFigures() map[string]figure {
	return map[string]figure{
		// 10,000 objects by 10 workers, from the first create call to the host's watch event of
		// the last copy. The ratio is the objects per second, divided by those of ConfigMaps.
		"custom_sync_ratio": {"x", 0, 0.5},
		// Each of 500 statuses, from just before the update on the host to the tenant's watch
		// event that shows it.
		"custom_status_p50": {"ms", 0, 0},
		"custom_status_p99": {"ms", 50, 0},
		// Anonymous memory as for idle_anon, of servers with 0, 1 and 30 kinds side by side.
		// One kind is the 29th part of what 29 further ones cost.
		"custom_kind_mb":     {"MB", 1.5, 0},
		"custom_30_kinds_mb": {"MB", 60, 0},
	}
}
