package syncer

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// sizedMap returns a host ConfigMap with that much data.
func sizedMap(name string, size int) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "tenant", Name: name},
		Data:       map[string]string{"k": strings.Repeat("x", size)},
	}
}

func TestLedgerNeverExceedsALimit(t *testing.T) {
	t.Parallel()
	ledger := newCopyLedger(ObjectLimits{Count: map[string]int64{OtherResources: 10}})
	var taken atomic.Int64
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			if _, err := ledger.reserve("configmaps", sizedMap(fmt.Sprint(i), 1)); err == nil {
				taken.Add(1)
			}
		})
	}
	group.Wait()
	if taken.Load() != 10 || ledger.usage()[0].Count != 10 {
		t.Errorf("100 creates at once took %d places, the ledger has %+v, want 10", taken.Load(), ledger.usage())
	}
}

func TestLedgerMessages(t *testing.T) {
	t.Parallel()
	limits := ObjectLimits{
		Count: map[string]int64{OtherResources: 2, "secrets": 0},
		Bytes: map[string]int64{"configmaps": 64 << 10},
	}
	for _, c := range []struct {
		reason   string
		has      []client.Object
		resource string
		asks     client.Object
		want     string
	}{
		{"there is room", []client.Object{sizedMap("a", 1)}, "configmaps", sizedMap("b", 1), ""},
		{
			"one too many",
			[]client.Object{sizedMap("a", 1), sizedMap("b", 1)}, "configmaps", sizedMap("c", 1),
			"exceeded limit of the virtual cluster: count of configmaps: used 2, asked 1, hard 2. " +
				"Delete some, or ask the operator of the host to raise policies.objects.count.others",
		},
		{
			"too large",
			[]client.Object{sizedMap("a", 48<<10)}, "configmaps", sizedMap("b", 32<<10),
			"exceeded limit of the virtual cluster: bytes of configmaps: used 49188, asked 32804, hard 64Ki. " +
				"Delete some, or ask the operator of the host to raise policies.objects.bytes.configmaps",
		},
		{
			"a change that grows too much",
			[]client.Object{sizedMap("a", 1)}, "configmaps", sizedMap("a", 65<<10),
			"exceeded limit of the virtual cluster: bytes of configmaps: used 33, asked 66563, hard 64Ki. " +
				"Delete some, or ask the operator of the host to raise policies.objects.bytes.configmaps",
		},
		{"a change of one that exists needs no place", []client.Object{sizedMap("a", 1), sizedMap("b", 1)}, "configmaps", sizedMap("b", 9), ""},
		{"above a lowered limit objects still shrink", []client.Object{sizedMap("a", 90<<10)}, "configmaps", sizedMap("a", 80<<10), ""},
		{"0 is no limit", []client.Object{sizedMap("a", 1), sizedMap("b", 1)}, "secrets", sizedMap("c", 1), ""},
	} {
		ledger := newCopyLedger(limits)
		for _, object := range c.has {
			ledger.observe(c.resource, client.ObjectKeyFromObject(object), sizeOf(object))
		}
		_, err := ledger.reserve(c.resource, c.asks)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}

// TestLedgerEqualsTheHost lets a ledger see writes that succeed and fail, and their events
// in any order. At the end it must have what the host has.
func TestLedgerEqualsTheHost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ledger, host := newCopyLedger(ObjectLimits{}), map[types.NamespacedName]int64{}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			object := sizedMap(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"), rapid.IntRange(0, 100).Draw(t, "size"))
			key := client.ObjectKeyFromObject(object)
			switch rapid.SampledFrom([]string{"write", "refuse", "delete"}).Draw(t, "step") {
			case "write":
				if _, err := ledger.reserve("configmaps", object); err != nil {
					t.Fatal(err)
				}
				host[key] = sizeOf(object)
			case "refuse":
				undo, err := ledger.reserve("configmaps", object)
				if err != nil {
					t.Fatal(err)
				}
				undo()
			case "delete":
				delete(host, key)
				ledger.forget("configmaps", key)
			}
		}
		var bytes int64
		for _, size := range host {
			bytes += size
		}
		for _, usage := range ledger.usage() {
			if usage.Count != int64(len(host)) || usage.Bytes != bytes {
				t.Fatalf("the ledger has %+v, the host %d objects of %d bytes", usage, len(host), bytes)
			}
		}
	})
}

// TestLimitsHoldForEveryWrite lets creates, changes and dry runs meet a limit.
func TestLimitsHoldForEveryWrite(t *testing.T) {
	t.Parallel()
	grown := virtualMap(func(m *corev1.ConfigMap) { m.Data["k"] = strings.Repeat("x", 2<<10) })
	for name, c := range map[string]struct {
		reason string
		host   []client.Object
		limits ObjectLimits
	}{
		"create": {"A copy too many is not created.", nil, ObjectLimits{Count: map[string]int64{"configmaps": 1}}},
		"change": {"A copy does not grow above the limit.", []client.Object{hostMap("v1")}, ObjectLimits{Bytes: map[string]int64{"configmaps": 1 << 10}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := clocktesting.NewFakeClock(testStart())
			virtual, host := newFakeServer("virtual", clock, grown.DeepCopy()), newFakeServer("host", clock, c.host...)
			b := newBench(configMaps(), clock, virtual, host)
			b.ledger, b.copyResource = newCopyLedger(c.limits), "configmaps"
			if len(c.host) == 0 {
				b.ledger.observe("configmaps", types.NamespacedName{Namespace: "tenant", Name: "other"}, 1)
			}
			_, err := b.reconcile(t.Context(), theKey())
			if !isRefused(err) || b.writes > 0 {
				t.Errorf("%s got %d writes, %v", c.reason, b.writes, err)
			}
			events := eventsOf(virtual)
			if len(events) != 1 || !strings.HasPrefix(events[0], "HostRefused: ") || !strings.Contains(events[0], "exceeded limit of the virtual cluster") {
				t.Errorf("%s The tenant must be told, got %v", c.reason, events)
			}
			before := b.ledger.usage()
			if _, err := b.createHostCopy(b.scope(t.Context()), theKey(), grown, writeOptions{dryRun: true}); !isRefused(err) && name == "create" {
				t.Errorf("A dry run must meet the limit, got %v", err)
			}
			if diff := cmp.Diff(before, b.ledger.usage()); diff != "" {
				t.Errorf("A write that did not happen must not count (-before +after):\n%s", diff)
			}
		})
	}
}

func TestRoomThatIsFreeLetsARefusedKeyTry(t *testing.T) {
	t.Parallel()
	full := true
	h := newRefusedPods(60, func(types.NamespacedName) bool { return full })
	h.pass(30 * time.Minute)
	before := h.attempts
	h.backoff.recordFreed()
	h.pass(freedPause + time.Second)
	if got := h.attempts - before; got < 1 || got > 2 {
		t.Errorf("One deletion must earn one attempt, got %d", got)
	}
	full = false
	h.backoff.recordFreed()
	h.pass(10 * time.Second)
	if h.accepted != 60 {
		t.Errorf("10 s after there is room for all, %d of 60 have a copy", h.accepted)
	}
}

// TestLedgerForgetsWhatNoEventShows lets the host lose copies before its watch shows them.
func TestLedgerForgetsWhatNoEventShows(t *testing.T) {
	t.Parallel()
	ledger, freed := newCopyLedger(ObjectLimits{}), 0
	ledger.onFreed = func(string) { freed++ }
	for _, name := range []string{"shown", "lost"} {
		if _, err := ledger.reserve("configmaps", sizedMap(name, 1)); err != nil {
			t.Fatal(err)
		}
	}
	shown := sizedMap("shown", 1)
	ledger.observe("configmaps", client.ObjectKeyFromObject(shown), sizeOf(shown))
	for range maxUnseen {
		ledger.dropUnseen()
	}
	if got := ledger.usage()[0].Count; got != 2 {
		t.Errorf("after %d checks %d copies count, want 2: events may be late", maxUnseen, got)
	}
	ledger.dropUnseen()
	if got := ledger.usage()[0].Count; got != 1 || freed != 1 {
		t.Errorf("then %d copies count and %d are free, want 1 and 1", got, freed)
	}
}

// TestFailedChangeOfDeletedCopyIsNotCounted checks that a copy which the host deletes during a change leaves the
// ledger.
func TestFailedChangeOfDeletedCopyIsNotCounted(t *testing.T) {
	t.Parallel()
	ledger, copied := newCopyLedger(ObjectLimits{}), sizedMap("a", 1)
	key := client.ObjectKeyFromObject(copied)
	ledger.observe("configmaps", key, 1)
	undo, err := ledger.reserve("configmaps", copied)
	if err != nil {
		t.Fatal(err)
	}
	ledger.forget("configmaps", key) // The watch is faster than the answer.
	undo()
	if used := ledger.usage()[0]; used.Count != 0 || used.Bytes != 0 {
		t.Errorf("the ledger has %+v", used)
	}
}
