package scheduler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/hostlab/sim"
	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
	"github.com/sublet-dev/sublet/test/await"
)

// patience is how long a test waits for what takes seconds.
const patience = await.Limit

const gpu corev1.ResourceName = "nvidia.com/gpu"

func TestMain(m *testing.M) {
	if err := sim.LogTo(io.Discard); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// newHost starts a host with nodes of 8 CPUs and 2 GPUs.
func newHost(t *testing.T, nodes int) *sim.Host {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	host, err := sim.Start(ctx, sim.Options{Nodes: nodes, NodeCPU: "8", NodeMemory: "32Gi", NodeGPUs: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Stop)
	return host
}

// shop is a virtual cluster with a scheduler.
type shop struct {
	host    *sim.Host
	name    string
	release *tenant.Release
	server  *tenant.Server
	client  kubernetes.Interface
}

// open installs a virtual cluster with a scheduler, of which values are settings,
// and waits until it has nodes.
func open(t *testing.T, host *sim.Host, name string, values map[string]any) *shop {
	t.Helper()
	scheduler := map[string]any{"enabled": true}
	maps.Copy(scheduler, values)
	return openWith(t, host, name, map[string]any{"controlPlane": map[string]any{"advanced": map[string]any{"virtualScheduler": scheduler}}})
}

// openWith does what open does, with all values.
func openWith(t *testing.T, host *sim.Host, name string, values map[string]any) *shop {
	t.Helper()
	return openVia(t, host, host, name, values)
}

// openVia does what openWith does, for a server that reaches the host by another way.
func openVia(t *testing.T, host *sim.Host, via tenant.Host, name string, values map[string]any) *shop {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	release, err := tenant.Install(ctx, via, tenant.Options{
		Chart: filepath.Join("..", "..", "..", "chart"), Server: filepath.Join("..", "..", "..", "bin", "sublet-server"),
		Release: "shop", Namespace: name,
		Values: values,
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := release.Run(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{host: host, name: name, release: release, server: server}
	t.Cleanup(func() { s.server.Stop() })
	s.connect(ctx, t)
	eventually(t, "the virtual cluster has its nodes", func(ctx context.Context) error {
		nodes, err := s.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err == nil && len(nodes.Items) != len(host.Nodes()) {
			err = fmt.Errorf("%d nodes", len(nodes.Items))
		}
		if err != nil {
			return err
		}
		for i := range nodes.Items {
			if nodes.Items[i].Status.Allocatable.Cpu().IsZero() {
				return fmt.Errorf("%s offers nothing yet", nodes.Items[i].Name)
			}
		}
		return nil
	})
	return s
}

// awaitOpen waits until the virtual scheduler uses each node. It knows them from a cache.
func (s *shop) awaitOpen(t *testing.T) {
	t.Helper()
	for _, node := range s.host.Nodes() {
		probe := newPod("open-"+node, "cpu", "1")
		probe.Spec.NodeSelector = map[string]string{corev1.LabelHostname: node}
		s.create(t, probe)
		s.running(t, probe.Name)
	}
	s.clear(t)
}

func (s *shop) connect(ctx context.Context, t *testing.T) {
	t.Helper()
	if _, err := s.server.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	config, err := s.server.Config(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if s.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the virtual cluster takes pods", func(ctx context.Context) error {
		_, err := s.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// crash kills the server and starts it again.
func (s *shop) crash(ctx context.Context, t *testing.T) {
	t.Helper()
	s.server.Kill()
	s.start(ctx, t)
}

// start starts the server again that has ended.
func (s *shop) start(ctx context.Context, t *testing.T) {
	t.Helper()
	next, err := s.server.Again()
	if err != nil {
		t.Fatal(err)
	}
	s.server = next
	s.connect(ctx, t)
}

// newPod returns a pod that requests resources, given in pairs.
func newPod(name string, pairs ...string) *corev1.Pod {
	requests := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		requests[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "test"}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64),
			Containers: []corev1.Container{{
				Name: "main", Image: "registry.example.com/main:1",
				Resources: corev1.ResourceRequirements{Requests: requests},
			}},
		},
	}
	if quantity, asks := requests[gpu]; asks {
		pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{gpu: quantity}
	}
	return pod
}

// create creates a pod in the virtual namespace default.
func (s *shop) create(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	created, err := s.client.CoreV1().Pods(metav1.NamespaceDefault).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func (s *shop) get(ctx context.Context, name string) (*corev1.Pod, error) {
	return s.client.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, name, metav1.GetOptions{})
}

// running waits until a pod is Running and returns it.
func (s *shop) running(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	eventually(t, name+" is Running", func(ctx context.Context) error {
		var err error
		if pod, err = s.get(ctx, name); err != nil {
			return err
		}
		if pod.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("%s on %q, conditions %v", pod.Status.Phase, pod.Spec.NodeName, pod.Status.Conditions)
		}
		return nil
	})
	return pod
}

// burst creates n pods of the shop at once.
func (s *shop) burst(ctx context.Context, prefix string, n int, pairs ...string) error {
	todo := make(chan int, n)
	for i := range n {
		todo <- i
	}
	close(todo)
	var hands sync.WaitGroup
	errs := make(chan error, n)
	for range 4 {
		hands.Go(func() {
			for i := range todo {
				pod := newPod(fmt.Sprintf("%s-%d", prefix, i), pairs...)
				_, err := s.client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, pod, metav1.CreateOptions{})
				if err != nil && !apierrors.IsAlreadyExists(err) {
					errs <- err
				}
			}
		})
	}
	hands.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// errOvercommitted is the error of a node with more requests than it can hold.
var errOvercommitted = errors.New("overcommitted")

// overcommitted returns an error for each host node with more requests than it can hold.
// Nobody else checks that where no kubelet runs.
func overcommitted(ctx context.Context, host *sim.Host) error {
	pods, err := host.Client().CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	nodes, err := host.Client().CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	sums := map[string]corev1.ResourceList{}
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			continue
		}
		sum := sums[pod.Spec.NodeName]
		if sum == nil {
			sum = corev1.ResourceList{}
			sums[pod.Spec.NodeName] = sum
		}
		for name, quantity := range resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}) {
			total := sum[name]
			total.Add(quantity)
			sum[name] = total
		}
	}
	var problems []error
	for _, node := range nodes.Items {
		for name, quantity := range sums[node.Name] {
			if offered := node.Status.Allocatable[name]; quantity.Cmp(offered) > 0 {
				problems = append(problems, fmt.Errorf("%w: %s: %s of %s %s", errOvercommitted, node.Name, quantity.String(), offered.String(), name))
			}
		}
	}
	return errors.Join(problems...)
}

// agree returns how many pods have a node, and an error where the shop and the host
// differ. Every virtual pod with a node must be on the node of its host pod. Every host
// pod with a node must have its virtual pod there.
func (s *shop) agree(ctx context.Context) (int, error) {
	virtual, err := s.client.CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	hosts, err := s.host.Client().CoreV1().Pods(s.name).List(ctx, metav1.ListOptions{LabelSelector: labels.Cluster})
	if err != nil {
		return 0, err
	}
	at := map[string]string{}
	for _, pod := range hosts.Items {
		at[pod.Annotations[labels.VirtualName]] = pod.Spec.NodeName
	}
	var problems []error
	bound := 0
	for _, pod := range virtual.Items {
		if pod.Spec.NodeName != "" {
			bound++
		}
		if pod.Spec.NodeName != at[pod.Name] {
			problems = append(problems, fmt.Errorf("%s is on %q, its host pod on %q", pod.Name, pod.Spec.NodeName, at[pod.Name]))
		}
		delete(at, pod.Name)
	}
	for name, node := range at {
		problems = append(problems, fmt.Errorf("host pod of %s on %q has no virtual pod", name, node))
	}
	return bound, errors.Join(problems...)
}

// eventually waits until check returns nil.
func eventually(t testing.TB, what string, check func(ctx context.Context) error) {
	t.Helper()
	await.Until(t, what, check)
}
