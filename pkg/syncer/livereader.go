package syncer

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// liveReader reads from the API server of one side what a kind otherwise reads from its
// caches: the same objects, found by the same indexes.
type liveReader struct {
	side     Side
	client   client.Client
	selector apilabels.Selector // nil for all objects
	indexes  []Index
}

// liveHostReader returns a reader of the kind's host objects.
func (r *reconciler) liveHostReader() *liveReader {
	return &liveReader{side: Host, client: r.host.client, selector: r.hostSelector(), indexes: r.kind.indexes}
}

// liveCopyReader returns a reader of the host copies of this virtual cluster, of all kinds.
func (r *reconciler) liveCopyReader() *liveReader {
	return &liveReader{side: Host, client: r.host.client, selector: oursSelector(r.cluster), indexes: r.kind.indexes}
}

// liveVirtualReader returns a reader of the virtual objects by which the kind decides.
func (r *reconciler) liveVirtualReader() *liveReader {
	return &liveReader{side: Virtual, client: r.virtual.client, indexes: r.kind.indexes}
}

// Get implements client.Reader.
func (l *liveReader) Get(ctx context.Context, key client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	return l.client.Get(ctx, key, object)
}

// List implements client.Reader. Index fields are compared here, because API servers know only a few fields. Most
// callers want one object of many, so List reads page by page and ends with what was asked for.
func (l *liveReader) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	asked := client.ListOptions{}
	asked.ApplyOptions(options)
	sent := client.ListOptions{Namespace: asked.Namespace, LabelSelector: l.selector}
	if asked.LabelSelector != nil {
		sent.LabelSelector = asked.LabelSelector
	}
	if asked.FieldSelector == nil {
		return l.client.List(ctx, list, &sent)
	}
	sent.Limit = livePageSize
	var kept []runtime.Object
	for {
		found, next, err := l.listPage(ctx, list, &sent, asked.FieldSelector.Requirements())
		if err != nil {
			return err
		}
		kept = append(kept, found...)
		if next == "" || asked.Limit > 0 && int64(len(kept)) >= asked.Limit {
			return meta.SetList(list, kept)
		}
		sent.Continue = next
	}
}

// listPage returns the objects of one page that meet all requirements, and the token of the next page. It is empty
// after the last one. The list names the type.
func (l *liveReader) listPage(
	ctx context.Context, list client.ObjectList, sent *client.ListOptions, requirements fields.Requirements,
) (found []runtime.Object, next string, err error) {
	page, ok := list.DeepCopyObject().(client.ObjectList)
	if !ok {
		return nil, "", fmt.Errorf("cannot list into %T", list)
	}
	if err := l.client.List(ctx, page, sent); err != nil {
		return nil, "", err
	}
	items, err := meta.ExtractList(page)
	if err != nil {
		return nil, "", fmt.Errorf("cannot read the items of %T: %w", list, err)
	}
	for _, item := range items {
		object, ok := item.(client.Object)
		if !ok {
			return nil, "", fmt.Errorf("cannot filter %T: its items are no objects", list)
		}
		if l.matches(object, requirements) {
			found = append(found, item)
		}
	}
	return found, page.GetContinue(), nil
}

// matches reports whether the index values of object meet all requirements.
func (l *liveReader) matches(object client.Object, requirements fields.Requirements) bool {
	for _, requirement := range requirements {
		met := slices.ContainsFunc(l.indexes, func(i Index) bool {
			return i.Side == l.side && i.Field == requirement.Field && slices.Contains(i.Values(object), requirement.Value)
		})
		if !met {
			return false
		}
	}
	return true
}
