package syncer

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// eventsOf returns reason and message of the Events on a server.
func eventsOf(s *fakeServer) []string {
	var all []string
	for _, o := range s.list(&corev1.Event{}, labelsEverything()) {
		event := o.(*corev1.Event)
		all = append(all, event.Reason+": "+event.Message)
	}
	slices.Sort(all)
	return all
}

// tooLarge returns the error with which the store of an API server rejects an object.
func tooLarge() error {
	return apierrors.NewInternalError(errors.New("etcdserver: request is too large"))
}

func TestRefusalsOfTheHost(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason string
		err    error
		want   bool
	}{
		"Forbidden":   {reason: "A quota decides.", err: apierrors.NewForbidden(schema.GroupResource{}, "x", errors.New("quota")), want: true},
		"TooLarge":    {reason: "An object that is too large for the API server stays so.", err: apierrors.NewRequestEntityTooLargeError("limit is 3145728"), want: true},
		"TooLargeFor": {reason: "So does one that is too large for its store.", err: tooLarge(), want: true},
		"Internal":    {reason: "Other internal errors pass by themselves.", err: apierrors.NewInternalError(errors.New("leader changed"))},
		"Conflict":    {reason: "A conflict means a new look.", err: apierrors.NewConflict(schema.GroupResource{}, "x", errors.New("changed"))},
		"Subresource": {reason: "A host without the subresource stays so.", err: &subresourceError{Host, theKey(), "resize"}, want: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clocktesting.NewFakeClock(testStart())
			virtual, host := newFakeServer("virtual", c, virtualMap()), newFakeServer("host", c)
			host.before = func(string, client.Object) error { return tc.err }
			b := newBench(configMaps(), c, virtual, host)
			_, err := b.reconcile(t.Context(), theKey())
			if got := isRefused(err); got != tc.want {
				t.Errorf("%s Refused: got %t, %v", tc.reason, got, err)
			}
			if got := len(eventsOf(virtual)) > 0; got != tc.want {
				t.Errorf("%s Event: got %t", tc.reason, got)
			}
		})
	}
}

// resizePod gives a pod other requests and other labels.
func resizePod(p *corev1.Pod) {
	p.Labels = map[string]string{"app": "cart"}
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *resourceOf("2")}
}

// TestRefusedResize resizes a pod, and changes its labels, while a quota of the host is used up.
func TestRefusedResize(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	virtual, host := newFakeServer("virtual", c, virtualPod(resizePod)), newFakeServer("host", c, hostPod())
	host.before = func(verb string, _ client.Object) error {
		if verb == "patch resize" {
			return apierrors.NewForbidden(corev1.Resource("pods"), "cart", errors.New("exceeded quota"))
		}
		return nil
	}
	kind := pods()
	kind.refusedResize = func(_ Scope, virtual, _ client.Object, reason string) {
		virtual.(*corev1.Pod).Status.Message = reason
	}
	b := newBench(kind, c, virtual, host)
	if _, err := b.reconcile(t.Context(), theKey()); !isRefused(err) {
		t.Errorf("A part that the host refuses must be reported, got %v", err)
	}
	if pod := virtual.get(&corev1.Pod{}, theKey()).(*corev1.Pod); !strings.Contains(pod.Status.Message, "exceeded quota") {
		t.Errorf("The kind must show it in the pod, got %q", pod.Status.Message)
	}
	if events := eventsOf(virtual); len(events) != 1 || !strings.Contains(events[0], "exceeded quota") {
		t.Errorf("The tenant must see it, got %v", events)
	}
	if pod := host.get(&corev1.Pod{}, translate.Hashed(testCluster(), theKey())).(*corev1.Pod); pod.Labels["app"] != "cart" {
		t.Error("Labels must not wait for a resize: Services and NetworkPolicies select by them")
	}
	host.requests = nil
	b.refresh()
	if _, err := b.reconcile(t.Context(), theKey()); !isRefused(err) {
		t.Errorf("The resize must be tried again, got %v", err)
	}
	if got := writesOf(host); !slices.Equal(got, []string{"patch resize"}) {
		t.Errorf("Nothing else is left to write, got %v", got)
	}
}

// TestFailureAfterRefusedResize fails to change the labels of a pod whose resize the host has refused.
// The failure is tried again soon, and a refusal only after minutes.
func TestFailureAfterRefusedResize(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]error{
		"conflict": apierrors.NewConflict(corev1.Resource("pods"), "cart", errors.New("it has changed")),
		"timeout":  errors.New("connection reset"),
		"gone":     apierrors.NewNotFound(corev1.Resource("pods"), "cart"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clocktesting.NewFakeClock(testStart())
			virtual, host := newFakeServer("virtual", c, virtualPod(resizePod)), newFakeServer("host", c, hostPod())
			host.before = func(verb string, object client.Object) error {
				switch verb {
				case "patch resize":
					return apierrors.NewForbidden(corev1.Resource("pods"), "cart", errors.New("exceeded quota"))
				case "patch":
					if apierrors.IsNotFound(failure) {
						delete(host.objects, keyOf(object))
					}
					return failure
				}
				return nil
			}
			b := newBench(pods(), c, virtual, host)
			if _, err := b.reconcile(t.Context(), theKey()); isRefused(err) || (err == nil) != apierrors.IsNotFound(failure) {
				t.Errorf("A failure must not pass for a refusal, got %v", err)
			}
		})
	}
}

// TestMissingSubresource takes a host that lacks pods/resize.
func TestMissingSubresource(t *testing.T) {
	t.Parallel()
	changed := pods()
	down := changed.down
	changed.down = func(s Scope, virtual, host client.Object) error {
		annotations := host.GetAnnotations()
		annotations[labels.LastApplied] = "new"
		host.SetAnnotations(annotations)
		return down(s, virtual, host)
	}
	c := clocktesting.NewFakeClock(testStart())
	virtual, host := newFakeServer("virtual", c, virtualPod(resizePod)), newFakeServer("host", c, hostPod())
	host.lacks = []string{"resize"}
	b := newBench(changed, c, virtual, host)
	if _, err := b.reconcile(t.Context(), theKey()); !isRefused(err) {
		t.Errorf("A part that the host has no address for must be reported, got %v", err)
	}
	if events := eventsOf(virtual); len(events) != 1 || !strings.Contains(events[0], "has no subresource resize for web/cart") {
		t.Errorf("The tenant must see it, got %v", events)
	}
	pod := host.get(&corev1.Pod{}, translate.Hashed(testCluster(), theKey())).(*corev1.Pod)
	if pod.Labels["app"] != "cart" {
		t.Error("What the host takes must not wait for what it does not")
	}
	if pod.Annotations[labels.LastApplied] == "new" {
		t.Error("The host pod must not show that the host has taken all")
	}
	host.removeNow(pod)
	if _, err := b.reconcile(t.Context(), theKey()); err != nil {
		t.Errorf("A pod that is gone is no missing subresource, got %v", err)
	}
}

// TestWritesUpFailAlone lets a tenant's webhook deny one of the writes to a pod.
func TestWritesUpFailAlone(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		reason string
		denied string
		want   []string // requests
	}{
		"Binding": {
			reason: "The status does not wait for the binding.", denied: "create binding",
			want: []string{"create binding", "update status", "create"},
		},
		"Status": {
			reason: "The rest does not wait for the status.", denied: "update status",
			want: []string{"create binding"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clocktesting.NewFakeClock(testStart())
			virtual := newFakeServer("virtual", c, virtualPod(func(p *corev1.Pod) { p.Spec.NodeName, p.Status = "", corev1.PodStatus{} }))
			virtual.before = func(verb string, o client.Object) error {
				if verb == tc.denied {
					return apierrors.NewForbidden(resource(o), o.GetName(), errors.New(`admission webhook "x" denied the request`))
				}
				return nil
			}
			b := newBench(pods(), c, virtual, newFakeServer("host", c, hostPod()))
			_, err := b.reconcile(t.Context(), theKey())
			slices.Sort(virtual.requests)
			slices.Sort(tc.want)
			if diff := cmp.Diff(tc.want, writesOf(virtual)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			if tc.denied != "create binding" {
				b.refresh()
				_, err = b.reconcile(t.Context(), theKey())
			}
			if err == nil {
				t.Errorf("%s It must be tried again.", tc.reason)
			}
			if events := eventsOf(virtual); len(events) != 1 || !strings.HasPrefix(events[0], reasonVirtualRefused+": cannot") {
				t.Errorf("%s The tenant must see why, got %v", tc.reason, events)
			}
		})
	}
}

// TestRefusedFieldCostsThatField lets the virtual API server refuse parts of a status.
func TestRefusedFieldCostsThatField(t *testing.T) {
	t.Parallel()
	status := func() corev1.PodStatus {
		return corev1.PodStatus{
			Phase: corev1.PodRunning, HostIP: "host",
			Conditions: []corev1.PodCondition{{Type: "A", Status: "new"}, {Type: "B", Status: "new"}, {Type: "C", Status: "new"}},
		}
	}
	old := corev1.PodStatus{HostIP: "old", Conditions: []corev1.PodCondition{{Type: "B", Status: "old"}}}
	conditions := field.NewPath("status", "conditions")
	tests := map[string]struct {
		reason string
		causes field.ErrorList
		want   func(*corev1.PodStatus)
	}{
		"Field": {
			reason: "A field keeps its old value.",
			causes: field.ErrorList{field.Invalid(field.NewPath("status", "hostIP"), "host", "no address")},
			want:   func(s *corev1.PodStatus) { s.HostIP = "old" },
		},
		"NewItem": {
			reason: "An item that is new is left out.",
			causes: field.ErrorList{field.Invalid(conditions.Index(0).Child("type"), "A", "no"), field.Invalid(conditions.Index(0).Child("status"), "new", "no")},
			want:   func(s *corev1.PodStatus) { s.Conditions = s.Conditions[1:] },
		},
		"OldItem": {
			reason: "An item that was there stays as it was.",
			causes: field.ErrorList{field.Invalid(conditions.Index(1).Child("status"), "new", "no")},
			want:   func(s *corev1.PodStatus) { s.Conditions[1].Status = "old" },
		},
		"TwoItems": {
			reason: "Several items go without moving each other.",
			causes: field.ErrorList{field.Invalid(conditions.Index(0), "A", "no"), field.Invalid(conditions.Index(2), "C", "no")},
			want:   func(s *corev1.PodStatus) { s.Conditions = s.Conditions[1:2] },
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clocktesting.NewFakeClock(testStart())
			virtual := newFakeServer("virtual", c, virtualPod(func(p *corev1.Pod) { p.Status = old }))
			refused := false
			virtual.before = func(verb string, o client.Object) error {
				if verb == "update status" && !refused {
					refused = true
					return apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, o.GetName(), tc.causes)
				}
				return nil
			}
			b := newBench(pods(), c, virtual, newFakeServer("host", c, hostPod(func(p *corev1.Pod) { p.Status = status() })))
			if _, err := b.reconcile(t.Context(), theKey()); err != nil {
				t.Fatal(err)
			}
			want := status()
			tc.want(&want)
			if diff := cmp.Diff(want, virtual.get(&corev1.Pod{}, theKey()).(*corev1.Pod).Status); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
			if len(eventsOf(virtual)) != 1 {
				t.Errorf("%s The tenant must see it.", tc.reason)
			}
		})
	}
}

// TestMissingStatusSubresource compares a type without a status subresource with an object
// that is gone.
func TestMissingStatusSubresource(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	virtual := newFakeServer("virtual", c, virtualPod(func(p *corev1.Pod) { p.Status = corev1.PodStatus{} }))
	virtual.lacks = []string{"status"}
	b := newBench(pods(), c, virtual, newFakeServer("host", c, hostPod()))
	var missing *subresourceError
	if _, err := b.reconcile(t.Context(), theKey()); !errors.As(err, &missing) {
		t.Errorf("A status that has no address must be an error, got %v", err)
	}
	if len(eventsOf(virtual)) != 1 {
		t.Error("The tenant must see that the status has no address")
	}
	virtual.requests = nil
	b.virtual.hasStatus = func(client.Object) (bool, error) { return false, nil }
	if _, err := b.reconcile(t.Context(), theKey()); err != nil {
		t.Fatal(err)
	}
	if got := writesOf(virtual); !slices.Equal(got, []string{"update"}) {
		t.Errorf("An object without a status subresource must be written whole, got %v", got)
	}
}

// TestNewStatusSubresource writes the status of an object whose type has got a status subresource
// since that was found out.
func TestNewStatusSubresource(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	virtual := newFakeServer("virtual", c, virtualPod(func(p *corev1.Pod) { p.Status = corev1.PodStatus{} }))
	b := newBench(pods(), c, virtual, newFakeServer("host", c, hostPod()))
	known := true
	b.virtual.hasStatus = func(client.Object) (bool, error) { return !known, nil }
	b.virtual.forgetStatus = func(client.Object) { known = false }
	// The first write changes nothing, so that no event causes another reconcile.
	if _, err := b.reconcile(t.Context(), theKey()); err != nil {
		t.Fatal(err)
	}
	if got := writesOf(virtual); !slices.Equal(got, []string{"update", "update status"}) {
		t.Errorf("got %v, want a second write at the address of the status", got)
	}
}

// TestNameOfATerminatingCopy creates a Service while the host still deletes the copy
// of an earlier one of its name.
func TestNameOfATerminatingCopy(t *testing.T) {
	t.Parallel()
	held := func(s *corev1.Service) {
		now := metav1.NewTime(testStart())
		s.Finalizers, s.DeletionTimestamp = []string{"service.kubernetes.io/load-balancer-cleanup"}, &now
	}
	for name, edit := range map[string]func(*corev1.Service){
		"Terminating": held, "NotYet": func(s *corev1.Service) { s.Finalizers = []string{"x/y"} },
	} {
		for _, uid := range []string{"old", labels.Pending} {
			t.Run(name+uid, func(t *testing.T) {
				t.Parallel()
				e, _, host := firstBench(t)
				host.add(hostService("old", edit))
				_, err := e.CreateHostFirst(t.Context(), "services", service(), false)
				var status apierrors.APIStatus
				if !errors.As(err, &status) || status.Status().Code != http.StatusServiceUnavailable {
					t.Fatalf("A state that passes by itself must be answered with 503, got %v", err)
				}
				if seconds, ok := apierrors.SuggestsClientDelay(err); !ok || seconds == 0 {
					t.Error("The client must be told when to try again")
				}
			})
		}
	}
}
