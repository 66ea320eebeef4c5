package controlplane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/kubernetes/pkg/apis/core"
)

// fakeHost is a step that writes Services to a host, and a validating step. It records
// both in the order of the requests.
type fakeHost struct {
	*admission.Handler
	mu    sync.Mutex
	calls map[string][]string // name -> what was asked about it
	users map[string]string   // name -> who asked, as the validating step saw it
}

func newFakeHost() *fakeHost {
	return &fakeHost{
		Handler: admission.NewHandler(admission.Create, admission.Update),
		calls:   map[string][]string{}, users: map[string]string{},
	}
}

func (h *fakeHost) record(name, call string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls[name] = append(h.calls[name], call)
}

// take returns the calls about a name since the last time.
func (h *fakeHost) take(name string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer delete(h.calls, name)
	return h.calls[name]
}

// user returns who asked about a name.
func (h *fakeHost) user(name string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.users[name]
}

// isTests reports whether a Service is one of the test.
func isTests(a admission.Attributes) bool {
	return a.GetResource().Resource == "services" && strings.HasPrefix(a.GetNamespace(), "dry-run")
}

// Prepare implements [HostFirst].
func (h *fakeHost) Prepare(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) (bool, error) {
	return isTests(a) && a.GetSubresource() == "", nil
}

// Apply implements [HostFirst]. The host assigns an address to a Service without one.
func (h *fakeHost) Apply(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	service := a.GetObject().(*core.Service)
	call := "host " + string(a.GetOperation())
	if a.IsDryRun() {
		call += " dry"
	} else if service.Spec.ClusterIP == "" {
		service.Spec.ClusterIP, service.Spec.ClusterIPs = "10.96.200.7", []string{"10.96.200.7"}
	}
	h.record(service.Name, call)
	return nil
}

// Validate implements [admission.ValidationInterface].
func (h *fakeHost) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if !isTests(a) {
		return nil
	}
	object, err := meta.Accessor(a.GetObject())
	if err != nil {
		return err
	}
	call := "validate"
	if a.IsDryRun() {
		call += " dry"
	}
	h.record(object.GetName(), call)
	h.mu.Lock()
	h.users[object.GetName()] = a.GetUserInfo().GetName()
	h.mu.Unlock()
	if object.GetLabels()["deny"] != "" {
		return admission.NewForbidden(a, errors.New("no such Services here"))
	}
	return nil
}

func testService(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

// TestHostFirst checks what reaches the host, and when.
func TestHostFirst(t *testing.T) {
	t.Parallel()
	host := newFakeHost()
	p := startPlane(t, Config{
		ServiceCIDR: "10.96.0.0/16", HostFirst: []HostFirst{host},
		Admission: []Plugin{{Name: "validates", Interface: host}},
	})
	for name, test := range map[string]func(*testing.T, *plane, *fakeHost){
		"Create": testHostFirstCreate, "Denied": testHostFirstDenied, "Update": testHostFirstUpdate,
		"Quota": testHostFirstQuota,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, p, host)
		})
	}
}

// expect compares the calls about a name.
func (h *fakeHost) expect(t *testing.T, reason, name string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, h.take(name)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", reason, diff)
	}
}

func testHostFirstCreate(t *testing.T, p *plane, host *fakeHost) {
	services := p.client.CoreV1().Services(namespace(t, p, "dry-run-create"))
	created, err := services.Create(t.Context(), testService("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if created.Spec.ClusterIP != "10.96.200.7" {
		t.Errorf("the stored address is %s, want the host's", created.Spec.ClusterIP)
	}
	host.expect(t, "validation comes first, and once", "a", "validate", "host CREATE")
	if user := host.user("a"); user != "admin" {
		t.Errorf("the validating step saw the user %q, want the one who asked", user)
	}
	if _, err := services.Create(t.Context(), testService("b"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Fatal(err)
	}
	host.expect(t, "a dry run is one everywhere", "b", "host CREATE dry", "validate dry")

	apply := applycorev1.Service("c", created.Namespace).WithSpec(applycorev1.ServiceSpec().
		WithPorts(applycorev1.ServicePort().WithPort(80)).WithClusterIP("10.96.200.8"))
	if _, err := services.Apply(t.Context(), apply, metav1.ApplyOptions{FieldManager: "test"}); err != nil {
		t.Fatal(err)
	}
	host.expect(t, "an apply that creates is a create", "c", "validate", "host CREATE")
}

func testHostFirstDenied(t *testing.T, p *plane, host *fakeHost) {
	services := p.client.CoreV1().Services(namespace(t, p, "dry-run-denied"))
	denied := testService("denied")
	denied.Labels = map[string]string{"deny": "it"}
	_, err := services.Create(t.Context(), denied, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `services "denied" is forbidden: no such Services here`) {
		t.Errorf("got %v, want the words of the step", err)
	}
	host.expect(t, "what a validating step denies never reaches the host", "denied", "validate")

	invalid := testService("invalid")
	invalid.Spec.Ports[0].Port = 0
	if _, err := services.Create(t.Context(), invalid, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("got %v, want invalid", err)
	}
	host.expect(t, "nor does what is invalid", "invalid")

	taken := testService("taken")
	taken.Spec.ClusterIP = "10.96.200.20"
	if _, err := services.Create(t.Context(), taken.DeepCopy(), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	host.take("taken")
	taken.Spec.ClusterIP = ""
	if _, err := services.Create(t.Context(), taken, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("got %v, want AlreadyExists", err)
	}
	host.expect(t, "nor does a name that exists", "taken", "validate")
}

func testHostFirstUpdate(t *testing.T, p *plane, host *fakeHost) {
	services := p.client.CoreV1().Services(namespace(t, p, "dry-run-update"))
	service := testService("a")
	service.Spec.ClusterIP = "10.96.200.30"
	created, err := services.Create(t.Context(), service, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	host.take("a")
	created.Labels = map[string]string{"x": "y"}
	if _, err := services.Update(t.Context(), created, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	host.expect(t, "an update is validated first too", "a", "validate", "host UPDATE")
	if _, err := services.Update(t.Context(), created, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("got %v, want a conflict", err)
	}
	host.expect(t, "an update of an old version never reaches the host", "a")
	patch := []byte(`{"metadata":{"labels":{"deny":"it"}}}`)
	if _, err := services.Patch(t.Context(), "a", types.MergePatchType, patch, metav1.PatchOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("got %v, want forbidden", err)
	}
	host.expect(t, "nor does a patch that is denied", "a", "validate")
}

func testHostFirstQuota(t *testing.T, p *plane, host *fakeHost) {
	ns := namespace(t, p, "dry-run-quota")
	_, err := p.client.CoreV1().ResourceQuotas(ns).Create(t.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "one"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
			"services": resource.MustParse("1"), "services.nodeports": resource.MustParse("0"),
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	services := p.client.CoreV1().Services(ns)
	// Admission reads quotas from a cache. One that it does not know yet charges nothing.
	eventually(t, "admission knows the quota", func(ctx context.Context) string {
		probe := testService("probe")
		probe.Spec.Type = corev1.ServiceTypeNodePort
		if _, err := services.Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); !apierrors.IsForbidden(err) {
			return fmt.Sprintf("a Service with a node port: got %v, want forbidden", err)
		}
		return ""
	})
	first := testService("first")
	first.Spec.ClusterIP = "10.96.200.40"
	if _, err := services.Create(t.Context(), first, metav1.CreateOptions{}); err != nil {
		t.Fatalf("a quota of one must be charged once: %v", err)
	}
	_, err = services.Create(t.Context(), testService("second"), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota: one") {
		t.Errorf("got %v, want the quota's words", err)
	}
	if calls := host.take("second"); slices.Contains(calls, "host CREATE") {
		t.Errorf("what exceeds a quota never reaches the host: %v", calls)
	}
}
