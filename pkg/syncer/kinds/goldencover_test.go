package kinds

import (
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// What a golden case may show of a kind.
const (
	created = "a copy is created"
	// changed counts for both sides: a reconcile sees two objects that differ, and not who has
	// changed one.
	changed = "a copy is changed"
	shown   = "the tenant's object is changed, as the host's was"
	deleted = "one is deleted and the other one follows"
	refused = "an object has no copy"
)

// uncovered maps a kind and what no golden case of it shows -> the reason.
func uncovered() map[string]string {
	const steps = "podcertificates_test.go has the steps of a certificate"
	return map[string]string{
		"networkpolicies: " + refused: "every policy has a copy, without what stays closed",
		"serviceaccounts: " + refused: "every service account has a copy, without permissions",
		"podcertificates: " + changed: steps,
		"podcertificates: " + shown:   steps,
	}
}

// TestCasesOfEveryKind checks that each kind has a golden case of everything that may happen to
// its objects. [TestCopyIsLost] and [TestOriginalIsDeleted] delete either side of every case
// that has a copy.
func TestCasesOfEveryKind(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	covered, wanted := map[string]bool{}, map[string]bool{}
	eachCase(t, func(t *testing.T, _ string, r *run) {
		kind, shows := r.step.Kind, r.shows(t)
		mu.Lock()
		defer mu.Unlock()
		for _, what := range []string{created, changed, deleted, refused} {
			wanted[kind.Name()+": "+what] = true
		}
		if kind.Owner() == syncer.Virtual && kind.HasUp() {
			wanted[kind.Name()+": "+shown] = true
		}
		for _, what := range shows {
			covered[kind.Name()+": "+what] = true
		}
	})
	t.Cleanup(func() {
		for _, one := range slices.Sorted(maps.Keys(wanted)) {
			if reason := uncovered()[one]; covered[one] == (reason != "") {
				t.Errorf("%s: a golden case shows it: %t; why none would: %q", one, covered[one], reason)
			}
		}
	})
}

// shows reconciles a case and returns what it shows of its kind.
func (r *run) shows(t *testing.T) []string {
	t.Helper()
	key, ok := r.keyOf(t)
	if !ok {
		return []string{refused}
	}
	state := func() (one, virtual any) {
		return r.contentOf(t, r.copySide(), r.copyOf(key)), r.contentOf(t, syncer.Virtual, r.sides[syncer.Virtual].ofKey(r.step.Kind.NewVirtual(), key))
	}
	copyBefore, virtualBefore := state()
	r.reconcile(t, key)
	copyAfter, virtualAfter := state()
	if copyAfter == nil {
		return []string{refused}
	}
	found := []string{deleted}
	switch {
	case copyBefore == nil:
		found = append(found, created)
	case !cmp.Equal(copyBefore, copyAfter):
		found = append(found, changed)
	}
	if r.step.Kind.Owner() == syncer.Virtual && copyBefore != nil && !cmp.Equal(virtualBefore, virtualAfter) {
		found = append(found, shown)
	}
	return found
}

// contentOf returns what an object holds, nil for none.
func (r *run) contentOf(t *testing.T, side syncer.Side, object client.Object) any {
	t.Helper()
	if object == nil {
		return nil
	}
	object = object.DeepCopyObject().(client.Object)
	object.SetResourceVersion("")
	return r.sides[side].plain(t, object)
}
