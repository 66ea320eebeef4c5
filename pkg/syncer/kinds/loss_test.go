package kinds

import (
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// staysLost maps a golden case -> why its copy does not come back.
func staysLost() map[string]string {
	const ended, empty = "a pod ends with its host copy", "another volume would be empty"
	return map[string]string{
		"pods/terminating": ended, "pods/running": ended, "pods/policy-running": ended, "pods/finished-on-host": ended, "pods/enforced-later": ended,
		"ingresses/keeps":               "somebody else has the host name now",
		"ingresses/unprotected":         "everybody would be served",
		"ingresses/class-gone":          "the host has no such class",
		"ingresses/classes-shown-later": "an Ingress without a class is the tenant's once classes are shown",
		"poddisruptionbudgets/changed":  "the virtual cluster has not computed the number yet",
		"volumesnapshots/taken":         "another one would have later data", "volumesnapshots/failed": "the class is no longer shown",
		"persistentvolumeclaims/bound": empty, "persistentvolumeclaims/expanded": empty, "persistentvolumeclaims/attributes": empty,
		"persistentvolumeclaims/attributes-taken-back": empty, "persistentvolumeclaims/attributes-of-host": empty,
		"persistentvolumeclaims/grown-on-host": empty, "persistentvolumeclaims/expansion-reduced": empty,
		"persistentvolumeclaims/grown-further-on-host": empty, "persistentvolumeclaims/messages": empty,
	}
}

// outlives maps a golden case -> why the virtual object stays without its original.
func outlives() map[string]string {
	const event = "Events expire by themselves"
	return map[string]string{
		"events/scheduled-by-host": event, "events/series": event, "events/mount": event, "events/provisioner": event, "events/injected-fails": event,
		"events/long-name": event, "events/debug": event, "events/ingress": event, "events/claim-source": event, "events/resource-claim": event,
		"snapshotevents/failed": event, "snapshotevents/again": event,
		"hostconfigmaps/tenants-own": "it is the tenant's", "runtimeclasses/tenants-own": "it is the tenant's",
	}
}

// caseOf returns the kind and the name of a golden case.
func caseOf(file string) string {
	return strings.TrimSuffix(strings.TrimPrefix(filepath.ToSlash(file), "testdata/"), ".in.yaml")
}

// TestCopyIsLost deletes the copy of every golden case that has one. It comes back.
func TestCopyIsLost(t *testing.T) {
	t.Parallel()
	eachCase(t, func(t *testing.T, file string, r *run) {
		key, side := r.settled(t)
		if side == nil {
			return
		}
		side.removeObject(r.copyOf(key))
		r.reconcile(t, key)
		if reason := staysLost()[caseOf(file)]; (r.copyOf(key) == nil) != (reason != "") {
			t.Errorf("a copy was deleted; is it back: %t; why it would not be: %q", r.copyOf(key) != nil, reason)
		}
	})
}

// TestOriginalIsDeleted deletes the original of every golden case that has a copy. The copy
// goes too, or is terminating.
func TestOriginalIsDeleted(t *testing.T) {
	t.Parallel()
	eachCase(t, func(t *testing.T, file string, r *run) {
		key, side := r.settled(t)
		if side == nil {
			return
		}
		other, like := r.sides[syncer.Host], r.step.Kind.NewHost()
		if r.step.Kind.Owner() == syncer.Virtual {
			other, like = r.sides[syncer.Virtual], r.step.Kind.NewVirtual()
		}
		for _, object := range other.ofType(like) {
			other.removeObject(object)
		}
		r.reconcile(t, key)
		left := r.copyOf(key)
		stays := left != nil && left.GetDeletionTimestamp() == nil
		if reason := outlives()[caseOf(file)]; stays != (reason != "") {
			t.Errorf("an original was deleted; does its copy stay: %t; why it would: %q", stays, reason)
		}
	})
}

// settled reconciles until nothing is left to write. It returns the virtual key, and the side
// that has a copy, nil if there is none.
func (r *run) settled(t *testing.T) (types.NamespacedName, *shelf) {
	t.Helper()
	key, ok := r.keyOf(t)
	if !ok {
		return key, nil
	}
	r.reconcile(t, key)
	if r.copyOf(key) == nil {
		return key, nil
	}
	return key, r.sides[r.copySide()]
}

// keyOf returns the virtual key of a case, false if its host object is not the kind's.
func (r *run) keyOf(t *testing.T) (types.NamespacedName, bool) {
	t.Helper()
	if r.step.Kind.Owner() == syncer.Host {
		return r.step.Origin(t.Context(), r.host)
	}
	return client.ObjectKeyFromObject(r.virtual), true
}

// copySide returns the side of the copies.
func (r *run) copySide() syncer.Side {
	if r.step.Kind.Owner() == syncer.Host {
		return syncer.Virtual
	}
	return syncer.Host
}

// copyOf returns the copy under a virtual key, nil if there is none.
func (r *run) copyOf(key types.NamespacedName) client.Object {
	if r.copySide() == syncer.Virtual {
		return r.sides[syncer.Virtual].ofKey(r.step.Kind.NewVirtual(), key)
	}
	return r.sides[syncer.Host].ofKey(r.step.Kind.NewHost(), r.step.HostKey(key))
}
