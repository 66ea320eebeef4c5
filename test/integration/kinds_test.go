package integration

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// switchboard hands Services at admission to the engine of their test, by their
// namespace. Those of other tests are left alone.
type switchboard struct{ engines sync.Map }

// CreateHostFirst implements admission.HostFirst.
func (s *switchboard) CreateHostFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	if e, ok := s.engines.Load(virtual.GetNamespace()); ok {
		return e.(*engine).CreateHostFirst(ctx, kind, virtual, dryRun)
	}
	return nil, nil
}

// UpdateHostFirst implements admission.HostFirst.
func (s *switchboard) UpdateHostFirst(ctx context.Context, kind string, virtual client.Object, dryRun bool) (client.Object, error) {
	if e, ok := s.engines.Load(virtual.GetNamespace()); ok {
		return e.(*engine).UpdateHostFirst(ctx, kind, virtual, dryRun)
	}
	return nil, nil
}

// startKinds runs an engine with the kinds of those names, and hands it the Services of
// the release. Such tests do not run in parallel: each engine sees all of the virtual
// cluster.
func (r *release) startKinds(t *testing.T, names ...string) {
	t.Helper()
	r.startSome(t, r.allKinds(), names...)
}

// startSome starts kinds as startKinds, with kinds that were made with other options.
func (r *release) startSome(t *testing.T, all []syncer.Kind, names ...string) *engine {
	t.Helper()
	var some []syncer.Kind
	for _, kind := range all {
		if slices.Contains(names, kind.Name()) {
			some = append(some, kind)
		}
	}
	e := r.start(t, r.host.memory(), some...)
	e.synced(t)
	r.first.engines.Store(r.namespace, e)
	t.Cleanup(func() { r.first.engines.Delete(r.namespace) })
	return e
}

// service returns a Service of the release.
func (r *release) service(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: name},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": name},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}
}

// sameService holds that both sides have the same address and node ports.
func (r *release) sameService(t *testing.T, virtual *corev1.Service) {
	t.Helper()
	host := &corev1.Service{}
	if err := r.host.client.Get(t.Context(), r.hostKey(virtual.Name), host); err != nil {
		t.Fatalf("the host Service must be there when the virtual one is: %v", err)
	}
	if !slices.Equal(host.Spec.ClusterIPs, virtual.Spec.ClusterIPs) || len(virtual.Spec.ClusterIPs) == 0 {
		t.Errorf("Service %s: addresses %v, on the host %v", virtual.Name, virtual.Spec.ClusterIPs, host.Spec.ClusterIPs)
	}
	for i := range virtual.Spec.Ports {
		if virtual.Spec.Ports[i].NodePort != host.Spec.Ports[i].NodePort {
			t.Errorf("Service %s: node port %d, on the host %d", virtual.Name, virtual.Spec.Ports[i].NodePort, host.Spec.Ports[i].NodePort)
		}
	}
}

func TestServicesAreTheHosts(t *testing.T) {
	r := newRelease(t)
	open := func(o *kinds.Options) { o.NetworkPolicy.Enabled = true }
	r.startSome(t, r.allKinds(open), "services", "endpointslices", "exposedservices")
	create := func(service *corev1.Service) *corev1.Service {
		t.Helper()
		if err := r.virtual.client.Create(t.Context(), service); err != nil {
			t.Fatal(err)
		}
		r.sameService(t, service)
		return service
	}
	web := create(r.service("web"))
	ports := r.service("ports")
	ports.Spec.Type = corev1.ServiceTypeNodePort
	if create(ports).Spec.Ports[0].NodePort == 0 {
		t.Error("a node port must be known from the first moment on")
	}
	opens := translate.Derived(translate.ExposedRole)(r.cluster, r.virtualKey("ports"))
	eventually(t, "NetworkPolicy of the node port", func(ctx context.Context) error {
		return r.host.client.Get(ctx, opens, &networkingv1.NetworkPolicy{})
	})
	headless := r.service("headless")
	headless.Spec.ClusterIP = corev1.ClusterIPNone
	create(headless)
	generated := r.service("")
	generated.GenerateName = "gen-"
	create(generated)

	balancer := web.DeepCopy()
	balancer.Spec.Type = corev1.ServiceTypeLoadBalancer
	balancer.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	balancer.Spec.Ports = append(balancer.Spec.Ports, corev1.ServicePort{Name: "b", Port: 81})
	if err := r.virtual.client.Patch(t.Context(), balancer, client.MergeFrom(web)); err != nil {
		t.Fatal(err)
	}
	r.sameService(t, balancer)
	if balancer.Spec.Ports[1].NodePort == 0 || balancer.Spec.HealthCheckNodePort == 0 {
		t.Errorf("after a change of the type: %v, health check %d", balancer.Spec.Ports, balancer.Spec.HealthCheckNodePort)
	}
	r.reportsBalancer(t, balancer)
	r.changesTypes(t, ports)
	r.bareServiceHasSlices(t)
	r.removesSelectors(t, create(r.service("fading")), headless)
}

// removesSelectors removes the selectors of Services. Those of their copies then match no pod, so that the host's
// controllers empty their slices. The host also accepts the copy of a new headless Service without a selector.
func (r *release) removesSelectors(t *testing.T, services ...*corev1.Service) {
	t.Helper()
	bare := r.service("headless-bare")
	bare.Spec.ClusterIP, bare.Spec.Selector = corev1.ClusterIPNone, nil
	if err := r.virtual.client.Create(t.Context(), bare); err != nil {
		t.Fatal(err)
	}
	if len(bare.Spec.IPFamilies) != 2 {
		t.Errorf("a headless Service without a selector has the families %v, want two as on any cluster", bare.Spec.IPFamilies)
	}
	for _, service := range services {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"selector":null}}`))
		if err := r.virtual.client.Patch(t.Context(), service.DeepCopy(), patch); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{labels.Cluster: r.cluster.UID, labels.Namespace: ""}
	for _, service := range append(services, bare) {
		eventually(t, "copy that selects no pod", func(ctx context.Context) error {
			host := &corev1.Service{}
			if err := r.host.client.Get(ctx, r.hostKey(service.Name), host); err != nil || !maps.Equal(host.Spec.Selector, want) {
				return fmt.Errorf("Service %s: selector %v, %w", service.Name, host.Spec.Selector, err)
			}
			return nil
		})
	}
}

// changesTypes changes the type of a Service to and fro. Its address stays, and it has a node port
// exactly while its type has one.
func (r *release) changesTypes(t *testing.T, service *corev1.Service) {
	t.Helper()
	for _, to := range []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort} {
		before := service.DeepCopy()
		service.Spec.Type = to
		if err := r.virtual.client.Patch(t.Context(), service, client.MergeFrom(before)); err != nil {
			t.Fatalf("from %s to %s: %v", before.Spec.Type, to, err)
		}
		r.sameService(t, service)
		if hasPort := service.Spec.Ports[0].NodePort != 0; hasPort == (to == corev1.ServiceTypeClusterIP) || service.Spec.ClusterIP != before.Spec.ClusterIP {
			t.Errorf("from %s to %s: the address %s became %s, with the ports %v", before.Spec.Type, to, before.Spec.ClusterIP, service.Spec.ClusterIP, service.Spec.Ports)
		}
	}
}

// reportsBalancer holds that a load balancer's address comes up.
func (r *release) reportsBalancer(t *testing.T, virtual *corev1.Service) {
	t.Helper()
	host := &corev1.Service{}
	if err := r.host.client.Get(t.Context(), r.hostKey(virtual.Name), host); err != nil {
		t.Fatal(err)
	}
	before := host.DeepCopy()
	host.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "198.51.100.7"}}
	if err := r.host.client.Status().Patch(t.Context(), host, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "load balancer", func(ctx context.Context) error {
		if err := r.virtual.client.Get(ctx, client.ObjectKeyFromObject(virtual), virtual); err != nil {
			return err
		}
		if ingress := virtual.Status.LoadBalancer.Ingress; len(ingress) != 1 || ingress[0].IP != "198.51.100.7" {
			return fmt.Errorf("ingress %v", ingress)
		}
		return nil
	})
}

// bareServiceHasSlices holds that what a tenant writes as Endpoints by hand serves
// the host Service.
func (r *release) bareServiceHasSlices(t *testing.T) {
	t.Helper()
	bare := r.service("bare")
	bare.Spec.Selector = nil
	if err := r.virtual.client.Create(t.Context(), bare); err != nil {
		t.Fatal(err)
	}
	endpoints := &corev1.Endpoints{ //nolint:staticcheck // what tenants still write
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "bare"},
		Subsets: []corev1.EndpointSubset{{ //nolint:staticcheck // as above
			Addresses: []corev1.EndpointAddress{{IP: "192.0.2.9"}},
			Ports:     []corev1.EndpointPort{{Name: "http", Port: 8080}},
		}},
	}
	if err := r.virtual.client.Create(t.Context(), endpoints); err != nil {
		t.Fatal(err)
	}
	eventually(t, "host Endpoints of a Service without selector", func(ctx context.Context) error {
		return r.host.hasSlice(ctx, r.hostKey("bare"), "192.0.2.9")
	})
	endpoints.Subsets[0].Addresses[0].IP = "192.0.2.10"
	if err := r.virtual.client.Update(t.Context(), endpoints); err != nil {
		t.Fatal(err)
	}
	// The kind counts an object as synced after the write. A second write proves that it has counted the first one.
	eventually(t, "other host Endpoints of a Service without selector", func(ctx context.Context) error {
		return r.host.hasSlice(ctx, r.hostKey("bare"), "192.0.2.10")
	})
}

func TestServiceRefusedByTheHost(t *testing.T) {
	r := newRelease(t)
	r.startKinds(t, "services")
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "few"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourceServices: resource.MustParse("0")}},
	}
	if err := r.host.client.Create(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	eventually(t, "quota in force", func(ctx context.Context) error {
		if err := r.host.client.Create(ctx, r.service("probe"), client.DryRunAll); !apierrors.IsForbidden(err) {
			return fmt.Errorf("the host answers %w", err)
		}
		return nil
	})
	err := r.virtual.client.Create(t.Context(), r.service("web"))
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota") || strings.Contains(err.Error(), r.hostKey("web").Name) {
		t.Errorf("the host's refusal is the tenant's answer, in words about their Service: %v", err)
	}
	if err := r.virtual.client.Get(t.Context(), r.virtualKey("web"), &corev1.Service{}); !apierrors.IsNotFound(err) {
		t.Errorf("what the host refused does not exist: %v", err)
	}
	service := r.service("bad")
	service.Spec.Ports[0].Port = 70000
	if err := r.virtual.client.Create(t.Context(), service); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), `"bad" is invalid`) {
		t.Errorf("an invalid Service is as invalid as anywhere: %v", err)
	}
}

// nodeWrites is how often the host changes its node while the tenant does.
const nodeWrites = 150

func TestNodeWithTwoWriters(t *testing.T) {
	r := newRelease(t)
	// Without a virtual scheduler, nobody would use a tenant's cordon.
	e := r.startSome(t, r.allKinds(func(o *kinds.Options) { o.VirtualScheduler = true }), "nodes")
	key := types.NamespacedName{Name: r.namespace}
	host := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: key.Name},
		Spec:       corev1.NodeSpec{ProviderID: "example://1", Taints: []corev1.Taint{{Key: "host", Effect: corev1.TaintEffectNoExecute, TimeAdded: &metav1.Time{Time: time.Unix(1, 0)}}}},
	}
	if err := r.host.client.Create(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.host.client.Delete(context.WithoutCancel(t.Context()), host) })
	virtual := &corev1.Node{}
	eventually(t, "virtual node", func(ctx context.Context) error { return r.virtual.client.Get(ctx, key, virtual) })
	if len(virtual.Spec.Taints) != 1 {
		t.Errorf("a new virtual node has the host's taints and no other: %v", virtual.Spec.Taints)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range nodeWrites {
		if err := r.hostChange(t.Context(), key, random.IntN(3), i); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			if err := r.tenantChange(t.Context(), key, i); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "both parts", func(ctx context.Context) error {
		if err := r.virtual.client.Get(ctx, key, virtual); err != nil {
			return err
		}
		if err := r.host.client.Get(ctx, key, host); err != nil {
			return err
		}
		return bothParts(host, virtual, e)
	})
	if _, leaked := host.Labels["tenant-0"]; leaked || host.Spec.Unschedulable || len(host.Spec.Taints) != 1 {
		t.Errorf("nothing of the tenant's reaches the host: %v, %v", host.Labels, host.Spec)
	}
}

// bothParts returns what a virtual node lacks of its host's or its tenant's part.
func bothParts(host, virtual *corev1.Node, e *engine) error {
	for key, value := range host.Labels {
		if virtual.Labels[key] != value {
			return fmt.Errorf("label %s is %q, on the host %q\n%s", key, virtual.Labels[key], value, e.status())
		}
	}
	for i := 0; i < nodeWrites; i += 10 {
		if key := fmt.Sprintf("tenant-%d", i); virtual.Labels[key] != "here" {
			return fmt.Errorf("the tenant's label %s is lost", key)
		}
	}
	// The host's taint, the tenant's, and that of the tenant's cordon.
	if !virtual.Spec.Unschedulable || len(virtual.Spec.Taints) != 3 {
		return fmt.Errorf("unschedulable %v, taints %v", virtual.Spec.Unschedulable, virtual.Spec.Taints)
	}
	return nil
}

// hostChange returns one of the host's writes.
func (r *release) hostChange(ctx context.Context, key types.NamespacedName, what, i int) error {
	node := &corev1.Node{}
	if err := r.host.client.Get(ctx, key, node); err != nil {
		return err
	}
	before := node.DeepCopy()
	switch what {
	case 0:
		node.Labels = map[string]string{fmt.Sprintf("host-%d", i%4): fmt.Sprint(i)}
	case 1:
		node.Spec.Taints[0].Value = fmt.Sprint(i)
	default:
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}}
		return r.host.client.Status().Patch(ctx, node, client.MergeFrom(before))
	}
	return r.host.client.Patch(ctx, node, client.MergeFrom(before))
}

// tenantChange returns one of the tenant's writes, as kubectl label, cordon and taint
// make them.
func (r *release) tenantChange(ctx context.Context, key types.NamespacedName, i int) error {
	// The syncer writes the node all the time.
	often := wait.Backoff{Duration: 10 * time.Millisecond, Factor: 1.5, Jitter: 0.5, Steps: 20}
	return retry.RetryOnConflict(often, func() error {
		node := &corev1.Node{}
		if err := r.virtual.client.Get(ctx, key, node); err != nil {
			return err
		}
		if node.Labels == nil {
			node.Labels = map[string]string{}
		}
		node.Labels[fmt.Sprintf("tenant-%d", i)] = "here"
		node.Spec.Unschedulable = true
		mine := corev1.Taint{Key: "tenant", Effect: corev1.TaintEffectNoSchedule}
		if !slices.Contains(node.Spec.Taints, mine) {
			node.Spec.Taints = append(node.Spec.Taints, mine)
		}
		return r.virtual.client.Update(ctx, node)
	})
}
