// Package manifests applies the manifests and Helm charts of the settings to a virtual cluster.
// It does so each time a leader starts, which also happens after a change of the settings. It
// deletes nothing: objects that are removed from the settings stay, because tenants may use
// them.
package manifests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/syncz"
)

const (
	// fieldManager is the field manager of server-side apply.
	fieldManager = "sublet-manifests"
	// firstRetry and lastRetry bound the pause before failed objects are applied again, which
	// doubles each time.
	firstRetry = time.Second
	lastRetry  = time.Minute
	// bufferSize is the length of the text, in bytes, by which YAML and JSON are distinguished.
	bufferSize = 4096
)

// Applier applies manifests by server-side apply.
type Applier struct {
	// Client applies the objects.
	Client dynamic.Interface
	// Mapper finds the resource of a kind. It is reset before a retry, because a manifest may
	// define a kind.
	Mapper meta.ResettableRESTMapper
	// Sources contain the objects.
	Sources []Source
	// Clock is the time.
	Clock clock.Clock

	mu sync.Mutex
	// tried is true once all objects were tried. applied is the number of objects that were
	// applied, and problems has the errors of the others.
	tried    bool
	applied  int
	problems []string
}

// item is an object that must still be applied.
type item struct {
	*unstructured.Unstructured

	// namespace is used if the object is namespaced and has none.
	namespace string
}

// Run applies the manifests, retries those that fail, and returns when ctx ends.
func (a *Applier) Run(ctx context.Context) error {
	unread, applied := a.Sources, 0
	var items []item
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		found, left, failures := readAll(unread)
		unread, items = left, append(items, found...)
		failed, reasons := a.applyAll(ctx, items)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // The end of the context is how it ends.
		}
		applied += len(items) - len(failed)
		items, failures = failed, append(failures, reasons...)
		a.record(applied, failures)
		var retry <-chan time.Time // never, once all are applied
		if len(failures) > 0 {
			klog.InfoS("Manifests not applied", "err", errors.Join(failures...), "retryAfter", pause)
			retry = a.Clock.After(pause)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-retry:
			a.Mapper.Reset()
		}
	}
}

// readAll reads the objects of sources. left are the sources that it could not read.
func readAll(sources []Source) (items []item, left []Source, failures []error) {
	for _, source := range sources {
		objects, err := source.Read()
		if err != nil {
			left, failures = append(left, source), append(failures, fmt.Errorf("%s: %w", source.Setting, err))
			continue
		}
		for _, object := range objects {
			items = append(items, item{Unstructured: object, namespace: source.Namespace})
		}
	}
	return items, left, failures
}

// applyAll applies objects in order. left are the objects that it could not apply.
func (a *Applier) applyAll(ctx context.Context, items []item) (left []item, failures []error) {
	for _, object := range items {
		if err := a.apply(ctx, object); err != nil {
			left, failures = append(left, object), append(failures, err)
		}
	}
	return left, failures
}

// apply applies one object by server-side apply, and takes over fields of other managers.
func (a *Applier) apply(ctx context.Context, object item) error {
	kind := object.GroupVersionKind()
	mapping, err := a.Mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return fmt.Errorf("cannot apply %s %s: %w", kind.Kind, object.GetName(), err)
	}
	var resource dynamic.ResourceInterface = a.Client.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		namespace := object.GetNamespace()
		if namespace == "" {
			namespace = object.namespace
		}
		resource = a.Client.Resource(mapping.Resource).Namespace(namespace)
	}
	options := metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
	if _, err := resource.Apply(ctx, object.GetName(), object.Unstructured, options); err != nil {
		return fmt.Errorf("cannot apply %s %s: %w", kind.Kind, object.GetName(), err)
	}
	return nil
}

// parse returns the objects in YAML documents. It skips empty documents and expands lists.
func parse(text string) ([]*unstructured.Unstructured, error) {
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), bufferSize)
	var objects []*unstructured.Unstructured
	for document := 1; ; document++ {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(&object.Object)
		switch {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, fmt.Errorf("cannot read document %d: %w", document, err)
		case len(object.Object) == 0:
			continue
		}
		found := []*unstructured.Unstructured{object}
		if object.IsList() {
			if found, err = itemsOf(object); err != nil {
				return nil, fmt.Errorf("cannot read document %d: %w", document, err)
			}
		}
		for _, one := range found {
			if one.GetAPIVersion() == "" || one.GetKind() == "" || one.GetName() == "" {
				return nil, fmt.Errorf("cannot read document %d: it needs apiVersion, kind and metadata.name", document)
			}
		}
		objects = append(objects, found...)
	}
}

// itemsOf returns the items of a list.
func itemsOf(list *unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	var items []*unstructured.Unstructured
	err := list.EachListItem(func(item runtime.Object) error {
		one, ok := item.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("an item is a %T", item)
		}
		items = append(items, one)
		return nil
	})
	return items, err
}

// record records the state for Checks.
func (a *Applier) record(applied int, failures []error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tried, a.applied, a.problems = true, applied, nil
	for _, err := range failures {
		a.problems = append(a.problems, err.Error())
	}
}

// Checks returns the health of the manifests.
func (a *Applier) Checks() []syncz.Check {
	a.mu.Lock()
	defer a.mu.Unlock()
	check := syncz.Check{Name: "manifests", Healthy: a.tried && len(a.problems) == 0, Message: fmt.Sprintf("%d objects are applied.", a.applied)}
	if !a.tried {
		check.Message = "Not applied yet."
	} else if !check.Healthy {
		check.Message = fmt.Sprintf("%d objects are applied, others are not.", a.applied)
		check.Details = append(check.Details, a.problems...)
	}
	return []syncz.Check{check}
}
