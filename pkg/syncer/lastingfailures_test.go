package syncer

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestLastingFailureIsReported lets the host fail each write of one object without refusing it. The tenant
// gets an Event without names of the host, and /syncz names the error, although the first failures are
// normal. Neither is repeated with each attempt.
func TestLastingFailureIsReported(t *testing.T) {
	t.Parallel()
	resource := schema.GroupResource{Resource: "configmaps"}
	webhook := apierrors.NewInternalError(errors.New(`failed calling webhook "validate.kyverno.svc": failed to call webhook: ` +
		`Post "https://kyverno-svc.kyverno.svc:443/validate?timeout=10s": dial tcp 10.96.0.1:443: connect: connection refused`))
	conflict := apierrors.NewConflict(resource, "cart", errors.New("the quota has changed"))
	for name, tc := range map[string]struct {
		verb string
		err  error
		text string
	}{
		"WebhookAway":   {verb: "create", err: webhook, text: "failed calling a webhook of the host"},
		"EndlessCreate": {verb: "create", err: conflict, text: "the quota has changed"},
		"EndlessPatch":  {verb: "patch", err: conflict, text: "the quota has changed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newRunnerBench(t)
			b.runner.reconciler.failures = b.queue.NumRequeues
			virtual := b.virtualServer.add(virtualMap())
			if tc.verb == "patch" {
				b.hostServer.add(hostMap(virtual.GetUID(), func(m *corev1.ConfigMap) { m.Data["k"] = "old" }))
			}
			b.hostServer.before = func(string, client.Object) error { return tc.err }
			b.enqueue(theKey())
			for attempt := range 40 {
				b.step(t)
				if told := len(eventsOf(b.virtualServer)) > 0; told && attempt < lastingFailures {
					t.Fatalf("Failure %d may pass by itself, the tenant was told", attempt)
				}
				b.clock.Step(lastRetry + time.Second)
			}
			told := strings.Join(eventsOf(b.virtualServer), "\n")
			if !strings.Contains(told, reasonHostFailed) || !strings.Contains(told, tc.text) {
				t.Errorf("The tenant must learn why there is no copy, got %q", told)
			}
			if strings.Contains(told, "kyverno") || strings.Contains(told, "10.96.0.1") {
				t.Errorf("The Event must have no names of the host, got %q", told)
			}
			if check := fmt.Sprint(b.check().Details); !strings.Contains(check, "last error: web/cart") {
				t.Errorf("/syncz must name the error, got %s", check)
			}
			writes := 0
			for _, o := range b.virtualServer.list(&corev1.Event{}, labelsEverything()) {
				writes += int(o.(*corev1.Event).Count)
			}
			if writes > 3 {
				t.Errorf("40 attempts must not write %d Events", writes)
			}
		})
	}
}

// TestPatchDeniedAsNotFound lets a webhook of the host deny a change with 404, as for an object that is gone.
// The change is not lost: it is tried again, and the tenant is told.
func TestPatchDeniedAsNotFound(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	virtual := b.virtualServer.add(virtualMap())
	b.hostServer.add(hostMap(virtual.GetUID(), func(m *corev1.ConfigMap) { m.Data["k"] = "old" }))
	b.hostServer.before = func(verb string, _ client.Object) error {
		if verb != "patch" {
			return nil
		}
		return apierrors.NewNotFound(schema.GroupResource{Resource: "policies"}, "tenants")
	}
	b.enqueue(theKey())
	b.step(t)
	if told := strings.Join(eventsOf(b.virtualServer), "\n"); !strings.Contains(told, "HostRefused") {
		t.Errorf("The tenant must learn that the change was denied, got %q", told)
	}
	if check := fmt.Sprint(b.check().Details); !strings.Contains(check, "last error: web/cart") {
		t.Errorf("/syncz must name the error, got %s", check)
	}
	b.refusals.mu.Lock()
	_, planned := b.refusals.keys[theKey()]
	b.refusals.mu.Unlock()
	if !planned {
		t.Error("The change must be tried again")
	}
}

// TestDenialAsNotFoundIsADenial checks the error that admission gets of such a denial. It does not pass by itself.
func TestDenialAsNotFoundIsADenial(t *testing.T) {
	t.Parallel()
	b := newRunnerBench(t)
	virtual := b.virtualServer.add(virtualMap())
	host := b.hostServer.add(hostMap(virtual.GetUID()))
	denial := apierrors.NewNotFound(schema.GroupResource{Resource: "policies"}, "tenants")
	err := checkNotFound(t.Context(), b.hostServer, host, "", denial)
	if !apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || !isRefused(err) {
		t.Errorf("A webhook has denied the write, got %v", err)
	}
	if err.Error() != denial.Error() {
		t.Errorf("The reason must stay, got %q", err)
	}
}
