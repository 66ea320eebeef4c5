package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	subletadmission "github.com/sublet-dev/sublet/pkg/admission"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds/nodes"
)

// nodeSwitch is the admission of nodes that the test at hand has set up.
type nodeSwitch struct {
	plugin atomic.Pointer[admission.Interface]
}

// Handles implements admission.Interface.
func (s *nodeSwitch) Handles(admission.Operation) bool { return true }

// Admit implements admission.MutationInterface.
func (s *nodeSwitch) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if p := s.plugin.Load(); p != nil && (*p).Handles(a.GetOperation()) {
		return (*p).(admission.MutationInterface).Admit(ctx, a, o)
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (s *nodeSwitch) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	if p := s.plugin.Load(); p != nil && (*p).Handles(a.GetOperation()) {
		return (*p).(admission.ValidationInterface).Validate(ctx, a, o)
	}
	return nil
}

// landlord is a virtual cluster whose tenant has to do with nodes.
type landlord struct {
	*release
	scheduler bool
	nodes     v1alpha1.Nodes
	engine    atomic.Pointer[syncer.Engine]
	after     atomic.Pointer[error] // what happens when the host has been written
	names     []string
}

// newLandlord makes nodes on the host that this test alone sees.
func newLandlord(t *testing.T, scheduler, back bool, count int) *landlord {
	t.Helper()
	l := &landlord{release: newRelease(t), scheduler: scheduler, nodes: v1alpha1.Default().Sync.FromHost.Nodes}
	l.nodes.SyncBackChanges = back
	l.nodes.SyncBackFields = []v1alpha1.NodeField{v1alpha1.NodeUnschedulable, v1alpha1.NodeTaints, v1alpha1.NodeLabels}
	l.nodes.SyncBackLabels, l.nodes.Annotations = []string{"mine", "forbidden"}, []string{"*"}
	l.nodes.Selector = v1alpha1.NodeSelector{Labels: map[string]string{"pool": l.namespace}}
	for i := range count {
		node := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", l.namespace, i), Labels: map[string]string{"pool": l.namespace, "kubernetes.io/arch": "amd64"}},
			Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "hosts", Effect: corev1.TaintEffectNoSchedule}}},
			Status:     corev1.NodeStatus{Capacity: corev1.ResourceList{"cpu": resource.MustParse("4")}, Allocatable: corev1.ResourceList{"cpu": resource.MustParse("4")}},
		}
		if err := l.host.client.Create(t.Context(), node); err != nil {
			t.Fatal(err)
		}
		l.names = append(l.names, node.Name)
	}
	t.Cleanup(func() {
		l.clusters.nodes.plugin.Store(nil)
		for _, side := range []*cluster{l.host, l.virtual} {
			_ = side.client.DeleteAllOf(stopping, &corev1.Node{}, client.MatchingLabels{"pool": l.namespace})
		}
	})
	return l
}

// ChangeHostFirst implements HostChange for pkg/admissionChange.
func (l *landlord) ChangeHostFirst(ctx context.Context, kind string, virtual client.Object, change func(client.Object) error, dryRun bool) error {
	if err := l.engine.Load().ChangeHostFirst(ctx, kind, virtual, change, dryRun); err != nil {
		return err
	}
	if err := l.after.Load(); err != nil {
		return *err
	}
	return nil
}

// open starts an engine and its admission under the settings as they are now.
func (l *landlord) open(t *testing.T, virtual *rest.Config) *engine {
	t.Helper()
	isSyncer := func(ctx context.Context) bool {
		user, ok := request.UserFrom(ctx)
		return ok && user.GetName() == "system:sublet:syncer"
	}
	var plugin admission.Interface = subletadmission.Nodes(subletadmission.NodeOptions{
		IsSyncer: isSyncer, Rules: nodes.Rules{VirtualScheduler: l.scheduler, Nodes: l.nodes}, Host: l,
	})
	e := l.startOn(t, virtual, l.host.memory(), syncer.Define("nodes", nodes.Real(nodes.Options{Nodes: l.nodes, VirtualScheduler: l.scheduler})))
	l.engine.Store(e.Engine)
	l.clusters.nodes.plugin.Store(&plugin)
	return e
}

// startOn starts an engine for the release on two lines of one's own.
func (r *release) startOn(t testing.TB, virtual, host *rest.Config, kinds ...syncer.Kind) *engine {
	t.Helper()
	return r.startWith(t, syncer.Options{Virtual: virtual, Host: host, Kinds: kinds})
}

// startWith starts an engine with the given options for the release.
func (r *release) startWith(t testing.TB, options syncer.Options) *engine {
	t.Helper()
	options.Cluster, options.VirtualInformers = r.cluster, planeInformers{r.virtual.plane}
	options.Log = funcr.New(func(_, args string) { t.Log(args) }, funcr.Options{})
	e, err := syncer.NewEngine(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := e.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	stop := func() { cancel(); <-ended }
	t.Cleanup(stop)
	return &engine{e, stop}
}

// node returns a node as one of the two sides has it.
func (l *landlord) node(t *testing.T, side *cluster, name string) *corev1.Node {
	t.Helper()
	node := &corev1.Node{}
	eventually(t, "node "+name, func(ctx context.Context) error {
		return side.client.Get(ctx, client.ObjectKey{Name: name}, node)
	})
	return node
}

// change patches a node as kubectl does: whoever else writes, it passes.
func change(ctx context.Context, side *cluster, name string, status bool, options []client.PatchOption, edit func(*corev1.Node)) error {
	node := &corev1.Node{}
	if err := side.client.Get(ctx, client.ObjectKey{Name: name}, node); err != nil {
		return err
	}
	before := node.DeepCopy()
	edit(node)
	patch := client.StrategicMergeFrom(before)
	if !status {
		return side.client.Patch(ctx, node, patch, options...)
	}
	var sub []client.SubResourcePatchOption
	return side.client.Status().Patch(ctx, node, patch, sub...)
}

// mustChange returns change that may not fail.
func mustChange(t *testing.T, side *cluster, name string, edit func(*corev1.Node)) {
	t.Helper()
	if err := change(t.Context(), side, name, false, nil, edit); err != nil {
		t.Fatal(err)
	}
}

func setLabel(key, value string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		n.Labels[key] = value
	}
}

func setCordon(on bool) func(*corev1.Node) { return func(n *corev1.Node) { n.Spec.Unschedulable = on } }

func addTaint(key string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule})
	}
}

// mortal is a line on which a process dies: after so many writes nothing goes
// through any more.
type mortal struct {
	next   http.RoundTripper
	writes *atomic.Int64
}

var errDead = errors.New("killed")

// RoundTrip implements http.RoundTripper.
func (m mortal) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method == http.MethodGet && m.writes.Load() > 0 || m.writes.Add(-1) >= 0 {
		return m.next.RoundTrip(request)
	}
	return nil, errDead
}

// doomed returns the syncer's line to the virtual cluster, for so many writes.
func (l *landlord) doomed(writes int) *rest.Config {
	config, left := l.virtual.memory(), &atomic.Int64{}
	left.Store(int64(writes))
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return mortal{next, left} })
	return config
}
