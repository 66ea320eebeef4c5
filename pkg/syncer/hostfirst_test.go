package syncer

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// services returns a kind whose host copy is made first.
func services() Kind {
	return Define("services", Resource[*corev1.Service, *corev1.Service]{
		Owner: Virtual,
		Names: translate.Hashed,
		Want: func(_ Scope, virtual, _ *corev1.Service) (bool, error) {
			return virtual.Labels[labels.ControlPlaneService] == "", nil
		},
		Down: func(_ Scope, virtual, host *corev1.Service) error {
			if host.Spec.ClusterIP == corev1.ClusterIPNone {
				return apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, virtual.Name, nil)
			}
			host.Spec.Ports = virtual.Spec.Ports
			return nil
		},
	})
}

// firstBench returns an engine for services between two fake servers. It does not run.
func firstBench(t *testing.T) (e *Engine, virtual, host *fakeServer) {
	t.Helper()
	c := clocktesting.NewFakeClock(testStart())
	virtual, host = newFakeServer("virtual", c), newFakeServer("host", c)
	nowhere := &rest.Config{Host: "http://nowhere.test"}
	e, err := NewEngine(Options{Cluster: testCluster(), Virtual: nowhere, Host: nowhere, Kinds: []Kind{services(), nodes()}, Clock: c, Log: silent()})
	if err != nil {
		t.Fatal(err)
	}
	e.host.client = host
	r := e.runners["services"].reconciler
	r.virtual.client, r.host.client = virtual, host
	r.holdReason = func() string { return "" }
	return e, virtual, host
}

// service returns the virtual Service of the tests, changed by edits.
func service(edits ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "cart"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}
	for _, edit := range edits {
		edit(s)
	}
	return s
}

// hostService returns its host copy, changed by edits.
func hostService(uid string, edits ...func(*corev1.Service)) *corev1.Service {
	s := service()
	translate.Stamp(testCluster(), translate.Hashed, theKey(), "x", s)
	s.Annotations[labels.VirtualUID] = uid
	s.Spec.ClusterIP = "10.0.0.99"
	s.UID = "h1"
	for _, edit := range edits {
		edit(s)
	}
	return s
}

func TestCreateFirst(t *testing.T) {
	t.Parallel()
	port := func(p int32) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.Ports = []corev1.ServicePort{{Port: p}} }
	}
	type want struct {
		ip       string
		none     bool
		err      bool
		requests []string
	}
	tests := map[string]struct {
		reason          string
		virtual         *corev1.Service // that is being created
		stored, present client.Object   // on the virtual and on the host side
		dryRun, refuse  bool
		want            want
	}{
		"Create": {
			reason: "The host assigns the address.", virtual: service(),
			want: want{ip: "10.0.0.1", requests: []string{"create"}},
		},
		"NotWanted": {
			reason:  "A Service of the control plane gets no copy.",
			virtual: service(func(s *corev1.Service) { s.Labels = map[string]string{labels.ControlPlaneService: "true"} }),
			want:    want{none: true},
		},
		"DryRun": {
			reason: "A dry run leaves nothing behind.", virtual: service(), dryRun: true,
			want: want{ip: "10.0.0.1", requests: []string{"create"}},
		},
		"Refused": {
			reason: "The host's refusal is the answer.", virtual: service(), refuse: true,
			want: want{none: true, err: true, requests: []string{"create"}},
		},
		"LeftOver": {
			reason: "What a former attempt left is used, as it is wanted now.", virtual: service(port(81)), present: hostService(labels.Pending),
			want: want{ip: "10.0.0.99", requests: []string{"create", "patch"}},
		},
		"LeftOverInvalid": {
			reason: "What a former attempt left makes room if it cannot become what is wanted now.", virtual: service(),
			present: hostService(labels.Pending, func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }),
			want:    want{ip: "10.0.0.2", requests: []string{"create", "delete", "create"}},
		},
		"Predecessor": {
			reason: "The copy of a Service that was just deleted makes room.", virtual: service(), present: hostService("old"),
			want: want{ip: "10.0.0.2", requests: []string{"create", "delete", "create"}},
		},
		"Exists": {
			reason: "The copy of a Service that exists is left alone: the creation fails by itself.", virtual: service(port(81)),
			stored: service(func(s *corev1.Service) { s.UID = "v1" }), present: hostService("v1"),
			want: want{ip: "10.0.0.99", requests: []string{"create"}},
		},
		"Foreign": {
			reason: "A foreign object is left alone.", virtual: service(),
			present: hostService("v1", func(s *corev1.Service) { s.Annotations = nil }), // stamped below
			want:    want{none: true, err: true, requests: []string{"create"}},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, virtual, host := firstBench(t)
			if tc.stored != nil {
				virtual.add(tc.stored)
			}
			if tc.present != nil {
				if name == "Foreign" {
					tc.present.SetAnnotations(nil)
				}
				host.add(tc.present)
			}
			if tc.refuse {
				host.before = func(string, client.Object) error {
					return apierrors.NewForbidden(resource(tc.virtual), "x", errors.New("quota"))
				}
			}
			before := len(host.objects)
			made, err := e.CreateHostFirst(t.Context(), "services", tc.virtual, tc.dryRun)
			got := want{none: made == nil, err: err != nil, requests: writesOf(host)}
			if made != nil {
				got.ip = made.(*corev1.Service).Spec.ClusterIP
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(want{}), cmp.Transformer("none", func(l []string) []string {
				return append([]string{}, l...)
			})); diff != "" {
				t.Errorf("%s\nerror: %v\n-want +got\n%s", tc.reason, err, diff)
			}
			if tc.dryRun && len(host.objects) != before {
				t.Error("A dry run must not be stored")
			}
			if tc.refuse && !apierrors.IsForbidden(err) {
				t.Errorf("The host's own error must come through, got %v", err)
			}
		})
	}
}

func TestUpdateFirst(t *testing.T) {
	t.Parallel()
	e, _, host := firstBench(t)
	changed := service(func(s *corev1.Service) { s.UID, s.Spec.Ports = "v1", []corev1.ServicePort{{Port: 81}} })
	if made, err := e.UpdateHostFirst(t.Context(), "services", changed, false); made != nil || err != nil {
		t.Errorf("Without a copy there is nothing to change, got %v, %v", made, err)
	}
	host.add(hostService("v1"))
	made, err := e.UpdateHostFirst(t.Context(), "services", changed, true)
	if err != nil || made.(*corev1.Service).Spec.Ports[0].Port != 81 {
		t.Errorf("A dry run must show what would be, got %v, %v", made, err)
	}
	if now := host.get(made, client.ObjectKeyFromObject(made)).(*corev1.Service); now.Spec.Ports[0].Port != 80 {
		t.Error("A dry run must change nothing")
	}
	if made, err = e.UpdateHostFirst(t.Context(), "services", changed, false); err != nil {
		t.Fatal(err)
	}
	if now := host.get(made, client.ObjectKeyFromObject(made)).(*corev1.Service); now.Spec.Ports[0].Port != 81 {
		t.Error("The copy must be changed")
	}
	other := service(func(s *corev1.Service) { s.UID = "v2" })
	if made, err := e.UpdateHostFirst(t.Context(), "services", other, false); made != nil || err != nil {
		t.Errorf("The copy of another object must be left alone, got %v, %v", made, err)
	}
}

func TestFirstNeedsAKindThatGoesDown(t *testing.T) {
	t.Parallel()
	e, _, _ := firstBench(t)
	for _, kind := range []string{"nodes", "nothing"} {
		if _, err := e.CreateHostFirst(t.Context(), kind, service(), false); err == nil {
			t.Errorf("CreateHostFirst of %s must fail", kind)
		}
	}
}

// TestCreateFirstDespiteConflicts lets other creates change a quota of the host at the same
// time.
func TestCreateFirstDespiteConflicts(t *testing.T) {
	t.Parallel()
	for conflicts, fails := range map[int]bool{1: false, hostFirstAttempts - 1: false, hostFirstAttempts: true} {
		e, _, host := firstBench(t)
		left := conflicts
		host.before = func(verb string, _ client.Object) error {
			if verb != "create" || left == 0 {
				return nil
			}
			left--
			return apierrors.NewConflict(schema.GroupResource{Resource: "resourcequotas"}, "few", errors.New("changed"))
		}
		_, err := e.CreateHostFirst(t.Context(), "services", service(), false)
		if fails != apierrors.IsServerTimeout(err) || !fails && err != nil {
			t.Errorf("after %d conflicts: %v", conflicts, err)
		}
	}
}

// TestUpdateFirstMeetsAnother lets others change the host Service between the look and
// the patch. Its ports are a list, which is patched as a whole.
func TestUpdateFirstMeetsAnother(t *testing.T) {
	t.Parallel()
	for meets, fails := range map[int]bool{1: false, hostFirstAttempts - 1: false, hostFirstAttempts: true} {
		e, _, host := firstBench(t)
		host.add(hostService("v1"))
		left := meets
		host.before = func(verb string, o client.Object) error {
			if verb == "patch" && left > 0 {
				left--
				host.version++
				host.objects[keyOf(o)].SetResourceVersion(strconv.Itoa(host.version))
			}
			return nil
		}
		changed := service(func(s *corev1.Service) { s.UID, s.Spec.Ports = "v1", []corev1.ServicePort{{Port: 81}} })
		_, err := e.UpdateHostFirst(t.Context(), "services", changed, false)
		if fails != apierrors.IsServerTimeout(err) || !fails && err != nil {
			t.Errorf("with %d changes in between: %v", meets, err)
		}
	}
}

// contextServer keeps the contexts of the requests that it gets.
type contextServer struct {
	*fakeServer
	contexts []context.Context
}

func (s *contextServer) Create(ctx context.Context, o client.Object, options ...client.CreateOption) error {
	s.contexts = append(s.contexts, ctx)
	return s.fakeServer.Create(ctx, o, options...)
}

func (s *contextServer) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	s.contexts = append(s.contexts, ctx)
	return s.fakeServer.Get(ctx, key, o, options...)
}

// TestHostFirstEndsBeforeTheRequest sends host-first writes to a host that may not answer. The API server gives
// up the tenant's request after a minute, and its error would not name the host.
func TestHostFirstEndsBeforeTheRequest(t *testing.T) {
	t.Parallel()
	e, _, host := firstBench(t)
	seen := &contextServer{fakeServer: host}
	e.runners["services"].reconciler.host.client = seen
	e.runners["nodes"].reconciler.host.client = seen
	if _, err := e.CreateHostFirst(t.Context(), "services", service(), false); err != nil {
		t.Fatal(err)
	}
	if _, err := e.UpdateHostFirst(t.Context(), "services", service(), false); err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}
	if err := e.ChangeHostFirst(t.Context(), "nodes", node, func(client.Object) error { return nil }, false); err == nil {
		t.Error("There is no such node")
	}
	if len(seen.contexts) < 3 {
		t.Fatalf("Each write must ask the host, got %d requests", len(seen.contexts))
	}
	for _, ctx := range seen.contexts {
		if end, limited := ctx.Deadline(); !limited || time.Until(end) > 45*time.Second {
			t.Errorf("A request to the host must end well before a minute, got %t %s", limited, end)
		}
	}
}
