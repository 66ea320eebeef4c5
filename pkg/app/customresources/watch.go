package customresources

import (
	"context"
	"fmt"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// definitionWatch watches one definition by its name, because the RBAC rules of the release name
// single definitions.
type definitionWatch struct {
	informer cache.SharedIndexInformer
	name     string
}

// newDefinitionWatch returns a watch that calls changed after each change.
func newDefinitionWatch(client apiextensionsclient.Interface, name string, changed func(name string)) (*definitionWatch, error) {
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	definitions := client.ApiextensionsV1().CustomResourceDefinitions()
	informer := cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = selector
			return definitions.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = selector
			return definitions.Watch(ctx, o)
		},
	}, client), &apiextensionsv1.CustomResourceDefinition{}, time.Duration(0), cache.Indexers{})
	strip := func(object any) (any, error) {
		if d, ok := object.(*apiextensionsv1.CustomResourceDefinition); ok {
			d.ManagedFields = nil
		}
		return object, nil
	}
	if err := informer.SetTransform(strip); err != nil {
		return nil, fmt.Errorf("cannot watch definition %s: %w", name, err)
	}
	notify := func() { changed(name) }
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { notify() }, UpdateFunc: func(any, any) { notify() }, DeleteFunc: func(any) { notify() },
	})
	if err != nil {
		return nil, fmt.Errorf("cannot watch definition %s: %w", name, err)
	}
	return &definitionWatch{informer: informer, name: name}, nil
}

// get returns the definition, nil if it does not exist. synced is false before the first list.
func (w *definitionWatch) get() (definition *apiextensionsv1.CustomResourceDefinition, synced bool) {
	if !w.informer.HasSynced() {
		return nil, false
	}
	item, ok, err := w.informer.GetStore().GetByKey(w.name)
	if err != nil || !ok {
		return nil, true
	}
	definition, ok = item.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return nil, true
	}
	return definition, true
}

// awaitSynced calls synced after the first list, because no event shows that a definition does
// not exist.
func (w *definitionWatch) awaitSynced(ctx context.Context, synced func()) {
	select {
	case <-ctx.Done():
	case <-w.informer.HasSyncedChecker().Done():
		synced()
	}
}
