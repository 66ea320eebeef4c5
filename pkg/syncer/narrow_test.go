package syncer

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// grantingMaps returns a kind whose copies give access by the keys of their data. With narrows false, it does
// not narrow its copies.
func grantingMaps(narrows bool) Kind {
	r := Resource[*corev1.ConfigMap, *corev1.ConfigMap]{
		Owner: Virtual,
		Names: translate.Hashed,
		Down: func(_ Scope, virtual, host *corev1.ConfigMap) error {
			host.Labels = translate.SyncLabels(host.Labels, virtual.Labels)
			host.Data = maps.Clone(virtual.Data)
			return nil
		},
	}
	if narrows {
		r.Narrow = func(host, wanted *corev1.ConfigMap) {
			maps.DeleteFunc(host.Data, func(key, _ string) bool { _, ok := wanted.Data[key]; return !ok })
		}
	}
	return Define("configmaps", r)
}

// refuses returns errors for the first patches that a server gets. nil accepts one.
func refuses(answers ...error) func(string, client.Object) error {
	return func(verb string, _ client.Object) error {
		if verb != "patch" || len(answers) == 0 {
			return nil
		}
		answer := answers[0]
		answers = answers[1:]
		return answer
	}
}

// TestRefusedUpdateEndsAccess checks what is left of a copy whose update the host refuses.
func TestRefusedUpdateEndsAccess(t *testing.T) {
	t.Parallel()
	denied := apierrors.NewForbidden(schema.GroupResource{}, "x", errors.New("a policy"))
	internal := apierrors.NewInternalError(errors.New("a webhook does not answer"))
	conflict := apierrors.NewConflict(schema.GroupResource{}, "x", errors.New("changed"))
	sending := apierrors.NewInternalError(errors.New("rpc error: code = ResourceExhausted desc = trying to send message larger than max (2500000 vs. 2097152)"))
	gives := func(keys ...string) map[string]string {
		data := map[string]string{}
		for _, key := range keys {
			data[key] = ""
		}
		return data
	}
	tests := map[string]struct {
		reason   string
		keeps    bool // the kind does not narrow
		before   map[string]string
		answers  []error
		failures int
		limit    int64
		host     []string
		left     map[string]string // nil for no copy
		refused  bool
	}{
		"TooLarge": {
			reason: "What the copy no longer gives ends, although the rest is too large.",
			before: gives("kept", "ended"), answers: []error{tooLarge()},
			host: []string{"patch", "patch"}, left: gives("kept"), refused: true,
		},
		"TooLargeToSend": {
			reason: "The API server's client for its store has a limit of its own.",
			before: gives("kept", "ended"), answers: []error{sending},
			host: []string{"patch", "patch"}, left: gives("kept"), refused: true,
		},
		"Limit": {
			reason: "A copy at its limit may lose something.",
			before: gives("kept", "ended"), limit: 1,
			host: []string{"patch"}, left: gives("kept"), refused: true,
		},
		"Internal": {
			reason: "Access ends, whatever else keeps the host from taking the update.",
			before: gives("kept", "ended"), answers: []error{internal},
			host: []string{"patch", "patch"}, left: gives("kept"),
		},
		"Denied": {
			reason: "A copy that the host denies to narrow is deleted.",
			before: gives("kept", "ended"), answers: []error{denied, denied},
			host: []string{"patch", "patch", "delete"}, refused: true,
		},
		"InternalTwice": {
			reason: "A host that fails for the moment is no reason to delete the copy.",
			before: gives("kept", "ended"), answers: []error{internal, internal},
			host: []string{"patch", "patch"}, left: gives("kept", "ended"),
		},
		"InternalForLong": {
			reason: "A host that fails for long is one.",
			before: gives("kept", "ended"), answers: []error{internal, internal}, failures: lastingFailures,
			host: []string{"patch", "patch", "delete"},
		},
		"Conflict": {
			reason: "The change of somebody else is seen first.",
			before: gives("kept", "ended"), answers: []error{tooLarge(), conflict},
			host: []string{"patch", "patch"}, left: gives("kept", "ended"),
		},
		"NothingEnded": {
			reason: "A copy that gives nothing too much stays as it is.",
			before: gives("kept"), answers: []error{denied},
			host: []string{"patch"}, left: gives("kept"), refused: true,
		},
		"State": {
			reason: "A kind that does not narrow its copies keeps them.",
			keeps:  true, before: gives("kept", "ended"), answers: []error{denied},
			host: []string{"patch"}, left: gives("kept", "ended"), refused: true,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual := virtualMap(func(m *corev1.ConfigMap) {
				m.Data = gives("kept", "added")
				m.Labels = map[string]string{"l": strings.Repeat("x", 60)}
			})
			host := hostMap("v1", func(m *corev1.ConfigMap) { m.Data = tc.before })
			b := newBenchOf(grantingMaps(!tc.keeps), clocktesting.NewFakeClock(testStart()), virtual, host)
			b.hostServer.before = refuses(tc.answers...)
			b.failures = func(types.NamespacedName) int { return tc.failures }
			if tc.limit > 0 {
				b.ledger, b.copyResource = newCopyLedger(ObjectLimits{Bytes: map[string]int64{"configmaps": tc.limit}}), "configmaps"
				b.ledger.observe("configmaps", client.ObjectKeyFromObject(host), sizeOf(host))
			}
			again, err := b.reconcile(t.Context(), theKey())
			b.compare(t, tc.reason, reconciled{host: tc.host, virtual: writesOf(b.virtualServer), err: true}, again, err)
			if isRefused(err) != tc.refused {
				t.Errorf("%s The error is a refusal: %t, want %t (%v)", tc.reason, !tc.refused, tc.refused, err)
			}
			var left map[string]string
			if found := b.hostServer.get(host, client.ObjectKeyFromObject(host)); found != nil {
				left = found.(*corev1.ConfigMap).Data
			}
			if diff := cmp.Diff(tc.left, left); diff != "" {
				t.Errorf("%s Data of the copy (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// TestRefusedUpdateRemovesLabels checks that labels and annotations that have ended do not wait for an update
// that the host refuses. Annotations of service accounts may be identities.
func TestRefusedUpdateRemovesLabels(t *testing.T) {
	t.Parallel()
	kind := grantingMaps(false)
	down := kind.down
	kind.down = func(s Scope, virtual, host client.Object) error {
		host.SetAnnotations(translate.SyncAnnotations(host.GetAnnotations(), virtual.GetAnnotations(), func(key, _ string) bool { return key == "allowed" }))
		return down(s, virtual, host)
	}
	virtual := virtualMap(func(m *corev1.ConfigMap) {
		m.Labels = map[string]string{"kept": "", "added": ""}
		m.Annotations = map[string]string{"identity": "admin", "allowed": ""}
	})
	host := hostMap("v1", func(m *corev1.ConfigMap) {
		m.Labels = translate.SyncLabels(m.Labels, map[string]string{"kept": "", "ended": ""})
		m.Annotations = translate.SyncAnnotations(m.Annotations, map[string]string{"identity": "admin"}, func(string, string) bool { return true })
		m.Annotations["host"] = "of others"
	})
	b := newBenchOf(kind, clocktesting.NewFakeClock(testStart()), virtual, host)
	b.hostServer.before = refuses(tooLarge())
	if _, err := b.reconcile(t.Context(), theKey()); !isRefused(err) {
		t.Errorf("the tenant must learn of the refusal, got %v", err)
	}
	left := b.hostServer.get(host, client.ObjectKeyFromObject(host))
	wanted := host.DeepCopy()
	delete(wanted.Annotations, "identity")
	delete(wanted.Labels, translate.TenantLabel("ended"))
	if diff := cmp.Diff(wanted.Annotations, left.GetAnnotations()); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wanted.Labels, left.GetLabels()); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	b.refresh()
	b.hostServer.before, b.hostServer.requests = refuses(tooLarge()), nil
	if _, _ = b.reconcile(t.Context(), theKey()); len(writesOf(b.hostServer)) != 1 {
		t.Errorf("nothing is left to remove, but there are the requests %v", b.hostServer.requests)
	}
}

// TestFailedPatchEndsAccess checks that a patch of the operator that fails does not keep access that has ended.
func TestFailedPatchEndsAccess(t *testing.T) {
	t.Parallel()
	virtual := virtualMap(func(m *corev1.ConfigMap) { m.Data = map[string]string{"kept": "", "added": ""} })
	host := hostMap("v1", func(m *corev1.ConfigMap) { m.Data = map[string]string{"kept": "", "ended": ""} })
	kind := grantingMaps(true).WithPatch(func(Scope, PatchRequest) error { return errors.New("no such key") })
	b := newBenchOf(kind, clocktesting.NewFakeClock(testStart()), virtual, host)
	if _, err := b.reconcile(t.Context(), theKey()); err == nil {
		t.Error("a patch that fails is an error")
	}
	left := b.hostServer.get(host, client.ObjectKeyFromObject(host)).(*corev1.ConfigMap).Data
	if diff := cmp.Diff(map[string]string{"kept": ""}, left); diff != "" {
		t.Errorf("data of the copy (-want +got):\n%s", diff)
	}
}

// TestUnbuiltUpdateEndsAccess checks what is left of a copy that the kind cannot build.
func TestUnbuiltUpdateEndsAccess(t *testing.T) {
	t.Parallel()
	unsupported := &translate.UnsupportedError{Problems: []error{errors.New("too many keys")}}
	for name, tc := range map[string]struct {
		reason string
		cause  error
		keeps  bool // the kind does not narrow
		left   map[string]string
	}{
		"Unsupported": {reason: "What may not stay ends.", cause: unsupported, left: map[string]string{"kept": ""}},
		"Transient":   {reason: "A read that fails ends nothing.", cause: errors.New("cannot list Services"), left: map[string]string{"kept": "", "ended": ""}},
		"State":       {reason: "A kind that does not narrow its copies keeps them.", cause: unsupported, keeps: true, left: map[string]string{"kept": "", "ended": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind := grantingMaps(!tc.keeps)
			down := kind.down
			kind.down = func(s Scope, virtual, host client.Object) error { return errors.Join(down(s, virtual, host), tc.cause) }
			virtual := virtualMap(func(m *corev1.ConfigMap) { m.Data = map[string]string{"kept": "", "added": ""} })
			host := hostMap("v1", func(m *corev1.ConfigMap) { m.Data = map[string]string{"kept": "", "ended": ""} })
			b := newBenchOf(kind, clocktesting.NewFakeClock(testStart()), virtual, host)
			if _, err := b.reconcile(t.Context(), theKey()); !errors.Is(err, tc.cause) {
				t.Errorf("%s The reconcile returns %v, want %v", tc.reason, err, tc.cause)
			}
			left := b.hostServer.get(host, client.ObjectKeyFromObject(host)).(*corev1.ConfigMap).Data
			if diff := cmp.Diff(tc.left, left); diff != "" {
				t.Errorf("%s Data of the copy (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}
