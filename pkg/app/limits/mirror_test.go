package limits

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// world is a mirror with the host that it reads and the cluster that it writes to.
type world struct {
	*Mirror
	quotas cache.Indexer
	client *fake.Clientset
	clock  *clocktesting.FakeClock
	usage  []syncer.Usage
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ranges := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	w := &world{
		quotas: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{}),
		client: fake.NewClientset(),
		clock:  clocktesting.NewFakeClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)),
		usage:  []syncer.Usage{{Resource: "configmaps", Count: 3, Bytes: 2048, MaxCount: 1000, MaxBytes: 64 << 20}},
	}
	w.Mirror = &Mirror{
		Virtual: w.client, Quotas: corelisters.NewResourceQuotaLister(w.quotas), LimitRanges: corelisters.NewLimitRangeLister(ranges),
		Usage: func() []syncer.Usage { return w.usage }, Clock: w.clock,
	}
	add(t, w.quotas, quota("20", "12"))
	add(t, ranges, &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Namespace: "tenant", Name: "shop"},
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
			Type: corev1.LimitTypeContainer, DefaultRequest: corev1.ResourceList{"cpu": resource.MustParse("10m")},
		}}},
	})
	return w
}

func add(t *testing.T, indexer cache.Indexer, object any) {
	t.Helper()
	if err := indexer.Add(object); err != nil {
		t.Fatal(err)
	}
}

func quota(hard, used string) *corev1.ResourceQuota {
	return &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: "tenant", Name: "shop-pods"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse(hard)}},
		Status:     corev1.ResourceQuotaStatus{Used: corev1.ResourceList{"pods": resource.MustParse(used)}},
	}
}

// listMirrored returns what the tenant sees.
func (w *world) listMirrored(t *testing.T) map[string]string {
	t.Helper()
	object, err := w.client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(t.Context(), Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return object.Data
}

func (w *world) mustSync(t *testing.T) {
	t.Helper()
	if err := w.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestMirror(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustSync(t)
	want := map[string]string{
		"resourceQuota": "pods:\n  hard: \"20\"\n  used: \"12\"\n",
		"limitRange":    "- defaultRequest:\n    cpu: 10m\n  type: Container\n",
		"copies":        "configmaps:\n  bytes: 2Ki\n  count: 3\n  maxBytes: 64Mi\n  maxCount: 1000\n",
	}
	if diff := cmp.Diff(want, w.listMirrored(t)); diff != "" {
		t.Errorf("what the tenant sees (-want +got):\n%s", diff)
	}
	add(t, w.quotas, quota("30", "13"))
	wider := quota("100", "40")
	wider.Name = "another"
	add(t, w.quotas, wider)
	w.mustSync(t)
	want["resourceQuota"] = "pods:\n  hard: \"30\"\n  used: \"13\"\n"
	if diff := cmp.Diff(want, w.listMirrored(t)); diff != "" {
		t.Errorf("what the tenant sees with a raised quota, and another one that has more room (-want +got):\n%s", diff)
	}
}

// TestMirrorWithoutQuotas shows only the limits of copies where the host has no others.
func TestMirrorWithoutQuotas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Quotas, w.LimitRanges = nil, nil
	w.mustSync(t)
	if got := w.listMirrored(t); got["resourceQuota"] != "{}\n" || got["limitRange"] != "[]\n" || got["copies"] == "{}\n" {
		t.Errorf("the tenant sees %v", got)
	}
}

func TestMirrorIsPutRight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustSync(t)
	want := w.listMirrored(t)
	client := w.client.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	for _, change := range []func() error{
		func() error {
			_, err := client.Update(t.Context(), &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: Name}, Data: map[string]string{"copies": "none"},
			}, metav1.UpdateOptions{})
			return err
		},
		func() error { return client.Delete(t.Context(), Name, metav1.DeleteOptions{}) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		w.clock.Step(recheck)
		w.mustSync(t)
		if diff := cmp.Diff(want, w.listMirrored(t)); diff != "" {
			t.Errorf("a minute after the tenant's change (-want +got):\n%s", diff)
		}
	}
}

// TestMirrorIsQuiet checks that a cluster at rest costs no request.
func TestMirrorIsQuiet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustSync(t)
	w.client.ClearActions()
	for range 11 {
		w.clock.Step(period)
		w.mustSync(t)
	}
	if got := len(w.client.Actions()); got > 0 {
		t.Errorf("%d requests in 55 s without a change", got)
	}
}
