// Package limits shows tenants the limits of the host namespace and their usage, in a ConfigMap.
//
// A ResourceQuota in the virtual cluster would not do. The virtual API server would enforce it
// in a single namespace, and the quota controller would overwrite its usage.
package limits

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// Name is the name of the ConfigMap in kube-system.
const Name = "sublet-limits"

const (
	// period is the shortest time between two writes, because each pod changes the usage.
	period = 5 * time.Second
	// recheck is the time after which the ConfigMap is read again, because the tenant may have
	// changed it.
	recheck = time.Minute
)

// Mirror keeps the ConfigMap up to date.
type Mirror struct {
	// Virtual writes to the virtual cluster. Required.
	Virtual kubernetes.Interface
	// Quotas and LimitRanges read the objects of the host namespace. Default: none are shown.
	Quotas      corelisters.ResourceQuotaLister
	LimitRanges corelisters.LimitRangeLister
	// Usage returns the usage of the limits on host copies. Required.
	Usage func() []syncer.Usage
	// Clock is the time. Required.
	Clock clock.Clock

	shown   view      // the last written view
	checked time.Time // when the ConfigMap was last read
}

// Run writes the ConfigMap until ctx ends.
func (m *Mirror) Run(ctx context.Context) error {
	for {
		if err := m.sync(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Cannot show the limits of the host, retrying")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.Clock.After(period):
		}
	}
}

// sync writes the ConfigMap if the view has changed. Otherwise it checks it every recheck.
func (m *Mirror) sync(ctx context.Context) error {
	now, err := m.view()
	if err != nil {
		return err
	}
	if !m.checked.IsZero() && m.Clock.Since(m.checked) < recheck && apiequality.Semantic.DeepEqual(now, m.shown) {
		return nil
	}
	data, err := now.encode()
	if err != nil {
		return err
	}
	if err := m.write(ctx, data); err != nil {
		return err
	}
	m.shown, m.checked = now, m.Clock.Now()
	return nil
}

// write creates or updates the ConfigMap.
func (m *Mirror) write(ctx context.Context, data map[string]string) error {
	client := m.Virtual.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	current, err := client.Get(ctx, Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		created := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: Name}, Data: data}
		if _, err := client.Create(ctx, created, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("cannot create ConfigMap %s: %w", Name, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot get ConfigMap %s: %w", Name, err)
	}
	if maps.Equal(current.Data, data) {
		return nil
	}
	current = current.DeepCopy()
	current.Data = data
	if _, err := client.Update(ctx, current, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("cannot update ConfigMap %s: %w", Name, err)
	}
	return nil
}

// quotaView is the usage of one resource of the quotas.
type quotaView struct {
	Used string `json:"used"`
	Hard string `json:"hard"`
}

// copiesView is the usage of the limits on host copies of one resource.
type copiesView struct {
	Count    int64  `json:"count"`
	MaxCount int64  `json:"maxCount,omitempty"`
	Bytes    string `json:"bytes,omitempty"`
	MaxBytes string `json:"maxBytes,omitempty"`
}

// view is the content of the ConfigMap.
type view struct {
	Quotas map[corev1.ResourceName]quotaView
	Ranges []corev1.LimitRangeItem
	Copies map[string]copiesView
}

// view returns the current limits and their usage.
func (m *Mirror) view() (view, error) {
	quotas, err := m.quotas()
	if err != nil {
		return view{}, err
	}
	ranges, err := m.limitRanges()
	if err != nil {
		return view{}, err
	}
	copies := map[string]copiesView{}
	for _, usage := range m.Usage() {
		copies[usage.Resource] = copiesView{
			Count: usage.Count, MaxCount: usage.MaxCount, Bytes: bytesText(usage.Bytes), MaxBytes: bytesText(usage.MaxBytes),
		}
	}
	return view{quotas, ranges, copies}, nil
}

// encode returns the data of the ConfigMap.
func (v view) encode() (map[string]string, error) {
	data := map[string]string{}
	for key, value := range map[string]any{"resourceQuota": v.Quotas, "limitRange": v.Ranges, "copies": v.Copies} {
		text, err := yaml.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("cannot encode %s: %w", key, err)
		}
		data[key] = strings.TrimSpace(string(text)) + "\n"
	}
	return data, nil
}

// quotas returns the quotas of the host namespace and their usage: resource -> quota. If
// several quotas limit a resource, it returns the one with the least room. The names of the
// quotas belong to the host and are omitted.
func (m *Mirror) quotas() (map[corev1.ResourceName]quotaView, error) {
	views, rooms := map[corev1.ResourceName]quotaView{}, map[corev1.ResourceName]resource.Quantity{}
	if m.Quotas == nil {
		return views, nil
	}
	quotas, err := m.Quotas.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("cannot list quotas of the host: %w", err)
	}
	for _, quota := range quotas {
		for name, hard := range quota.Spec.Hard {
			used, room := quota.Status.Used[name], hard.DeepCopy()
			room.Sub(used)
			if least, found := rooms[name]; found && least.Cmp(room) <= 0 {
				continue
			}
			views[name], rooms[name] = quotaView{Used: used.String(), Hard: hard.String()}, room
		}
	}
	return views, nil
}

// limitRanges returns the limits of the LimitRanges in the host namespace.
func (m *Mirror) limitRanges() ([]corev1.LimitRangeItem, error) {
	items := []corev1.LimitRangeItem{}
	if m.LimitRanges == nil {
		return items, nil
	}
	ranges, err := m.LimitRanges.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("cannot list limit ranges of the host: %w", err)
	}
	slices.SortFunc(ranges, func(a, b *corev1.LimitRange) int { return strings.Compare(a.Name, b.Name) })
	for _, limits := range ranges {
		items = append(items, limits.Spec.Limits...)
	}
	return items, nil
}

// bytesText returns a number of bytes as a quantity. It is empty for 0.
func bytesText(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return resource.NewQuantity(bytes, resource.BinarySI).String()
}
