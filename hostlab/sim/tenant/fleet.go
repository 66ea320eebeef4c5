package tenant

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// fleetNode is the node of the pods of control planes. KWOK does not act as its kubelet.
const fleetNode = "control-plane"

// fleetScheduler is a scheduler that does not exist: the fleet binds the pods.
const fleetScheduler = "fleet"

// fleetPeriod is how often the fleet compares pods with processes, and asks for their
// readiness.
const fleetPeriod = 50 * time.Millisecond

// FleetOptions configure the processes of a fleet.
type FleetOptions struct {
	// Dir keeps the volumes of the pods. It exists.
	Dir string
	// Via returns how a pod reaches the host. Default: as the release does.
	Via func(pod string) Host
	// Config changes the settings of a pod, as the network changes an address. Default: it
	// does not.
	Config func(pod string, config []byte) []byte
	// Arguments returns what the process of a pod gets in addition to what every server gets.
	// Default: nothing.
	Arguments func(pod string) []string
	// Environment returns variables of the process of a pod, as NAME=VALUE. Default: none.
	Environment func(pod string) []string
}

// Fleet runs the control plane of a release in as many replicas as its StatefulSet has.
//
// The host has the StatefulSet, and its controller makes the pods. The fleet acts as
// their kubelet: it starts a process for each pod and asks the chart's readiness probe. A process
// that ends is started again. A pod that is deleted ends with its process. The
// volume of a pod is a folder, so a later pod of its name finds it.
type Fleet struct {
	release *Release
	options FleetOptions
	client  kubernetes.Interface
	cancel  context.CancelFunc
	done    chan struct{}

	mu       sync.Mutex
	replicas map[types.UID]*Replica // UID of the pod -> its process
	ports    map[string]string      // name of the pod -> port of its API
	held     map[string]bool        // name of the pod -> its process must not start
	tenant   *rest.Config
	problem  error
}

// Replica is a process of a pod.
type Replica struct {
	*Server

	// Pod and UID are those of the pod.
	Pod string
	UID types.UID

	client atomic.Pointer[kubernetes.Interface]
	ready  bool // ready and ending have the lock of the fleet.
	ending bool
}

// Client returns a client of this replica alone, with the rights of an administrator. It
// is nil until the replica was ready once.
func (r *Replica) Client() kubernetes.Interface {
	if client := r.client.Load(); client != nil {
		return *client
	}
	return nil
}

// RunFleet applies the StatefulSet of the release and runs its pods until
// [Fleet.Stop].
func (r *Release) RunFleet(ctx context.Context, o FleetOptions) (*Fleet, error) {
	if o.Via == nil {
		o.Via = func(string) Host { return r.host }
	}
	if o.Arguments == nil {
		o.Arguments = func(string) []string { return nil }
	}
	if o.Environment == nil {
		o.Environment = func(string) []string { return nil }
	}
	if o.Config == nil {
		o.Config = func(_ string, config []byte) []byte { return config }
	}
	f := &Fleet{
		release: r, options: o, client: r.client, done: make(chan struct{}),
		replicas: map[types.UID]*Replica{}, ports: map[string]string{}, held: map[string]bool{},
	}
	if err := f.createNode(ctx); err != nil {
		return nil, err
	}
	if err := f.Apply(ctx); err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f.cancel = cancel
	go f.run(running)
	return f, nil
}

// createNode creates the node of all fleets of the host.
func (f *Fleet) createNode(ctx context.Context) error {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: fleetNode},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "sublet.dev/fleet", Effect: corev1.TaintEffectNoSchedule}}},
	}
	if _, err := f.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create node %s: %w", fleetNode, err)
	}
	return nil
}

// Apply applies each StatefulSet as the chart renders it now. [Release.Upgrade] applies
// all else.
func (f *Fleet) Apply(ctx context.Context) error {
	writer, err := newApplier(f.release.host.Config(), f.release.Namespace())
	if err != nil {
		return err
	}
	applied := 0
	for _, object := range f.release.objects {
		if object.GetKind() != "StatefulSet" {
			continue
		}
		object = object.DeepCopy()
		if err := unstructured.SetNestedField(object.Object, fleetScheduler, "spec", "template", "spec", "schedulerName"); err != nil {
			return fmt.Errorf("cannot set the scheduler of the pods: %w", err)
		}
		// The host has no volumes: the fleet has folders in their place.
		unstructured.RemoveNestedField(object.Object, "spec", "volumeClaimTemplates")
		unstructured.RemoveNestedField(object.Object, "spec", "persistentVolumeClaimRetentionPolicy")
		unstructured.RemoveNestedField(object.Object, "spec", "template", "spec", "volumes")
		if err := removeMounts(object); err != nil {
			return err
		}
		if err := writer.apply(ctx, object); err != nil {
			return err
		}
		applied++
	}
	if applied == 0 {
		return errors.New("the chart renders no StatefulSet")
	}
	return nil
}

// removeMounts removes the mounts of the volumes that a fleet does not have.
func removeMounts(set *unstructured.Unstructured) error {
	path := []string{"spec", "template", "spec", "containers"}
	containers, _, err := unstructured.NestedSlice(set.Object, path...)
	if err != nil {
		return fmt.Errorf("StatefulSet %s: %w", set.GetName(), err)
	}
	for _, container := range containers {
		if fields, ok := container.(map[string]any); ok {
			delete(fields, "volumeMounts")
		}
	}
	return unstructured.SetNestedSlice(set.Object, containers, path...)
}

// Scale sets the number of replicas, as kubectl scale does.
func (f *Fleet) Scale(ctx context.Context, replicas int32) error {
	sets := f.client.AppsV1().StatefulSets(f.release.Namespace())
	scale, err := sets.GetScale(ctx, f.release.Name(), metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("cannot get the scale of StatefulSet %s: %w", f.release.Name(), err)
	}
	scale.Spec.Replicas = replicas
	if _, err := sets.UpdateScale(ctx, f.release.Name(), scale, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("cannot scale StatefulSet %s: %w", f.release.Name(), err)
	}
	return nil
}

// Replicas returns the processes that run, in the order of their pods' names.
func (f *Fleet) Replicas() []*Replica { return f.filter(func(*Replica) bool { return true }) }

// Ready returns those of the replicas that are ready: the endpoints of the Service.
func (f *Fleet) Ready() []*Replica { return f.filter(func(r *Replica) bool { return r.ready }) }

func (f *Fleet) filter(keep func(*Replica) bool) []*Replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := slices.DeleteFunc(slices.Collect(maps.Values(f.replicas)), func(r *Replica) bool { return r.isGone() || !keep(r) })
	slices.SortFunc(kept, func(a, b *Replica) int { return compareNames(a.Pod, b.Pod) })
	return kept
}

// compareNames orders the names of pods by their ordinals.
func compareNames(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return slices.Compare([]byte(a), []byte(b))
}

// Kill kills the process of a pod and keeps it from starting until [Fleet.Restart].
func (f *Fleet) Kill(pod string) {
	f.mu.Lock()
	f.held[pod] = true
	var victims []*Replica
	for _, replica := range f.replicas {
		if replica.Pod == pod {
			victims = append(victims, replica)
		}
	}
	f.mu.Unlock()
	for _, replica := range victims {
		replica.Kill()
	}
}

// Restart lets the process of a pod start again.
func (f *Fleet) Restart(pod string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.held, pod)
}

// DataDir returns the folder with the volume of a pod.
func (f *Fleet) DataDir(pod string) string { return filepath.Join(f.options.Dir, pod, "data") }

// Port returns the port at which the API of a pod is served. It stays the same.
func (f *Fleet) Port(pod string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ports[pod] == "" {
		port, err := ReservePort()
		if err != nil {
			return "", err
		}
		f.ports[pod] = port
	}
	return f.ports[pod], nil
}

// Err returns why the fleet cannot run its pods, nil if it can.
func (f *Fleet) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.problem
}

// Stop ends all processes. The pods stay.
func (f *Fleet) Stop() {
	f.cancel()
	<-f.done
	var processes sync.WaitGroup
	for _, replica := range f.Replicas() {
		processes.Go(func() {
			_ = replica.Resume()
			replica.Stop()
		})
	}
	processes.Wait()
}

// Tenant returns the configuration of the tenant's administrator, with the address of
// no replica. It waits for the Secret with the kubeconfig.
func (f *Fleet) Tenant(ctx context.Context) (*rest.Config, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tenant != nil {
		return rest.CopyConfig(f.tenant), nil
	}
	kubeconfig, err := f.release.kubeconfig(ctx, "127.0.0.1")
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("cannot use the tenant's kubeconfig: %w", err)
	}
	config.QPS, config.Burst = -1, -1
	f.tenant = config
	return rest.CopyConfig(config), nil
}

// newReplica starts the process of a pod.
func (f *Fleet) newReplica(ctx context.Context, pod *corev1.Pod) (*Replica, error) {
	port, err := f.Port(pod.Name)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := f.release.hostKubeconfig(ctx, f.options.Via(pod.Name), pod)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(f.options.Dir, pod.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot create the folder of pod %s: %w", pod.Name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "host.kubeconfig"), kubeconfig, 0o600); err != nil {
		return nil, fmt.Errorf("cannot write the kubeconfig of pod %s: %w", pod.Name, err)
	}
	probes, err := ReservePort()
	if err != nil {
		return nil, err
	}
	server := newServer(f.release, dir)
	server.port, server.operator = port, net.JoinHostPort("127.0.0.1", probes)
	server.configure = func(config []byte) []byte { return f.options.Config(pod.Name, config) }
	server.environment = f.options.Environment(pod.Name)
	server.arguments = slices.Concat([]string{
		"--pod-name", pod.Name, "--pod-uid", string(pod.UID), "--advertise-address", f.address(pod.Name),
		"--operator-port", probes,
	}, partsOf(pod), f.options.Arguments(pod.Name))
	if err := server.start(); err != nil {
		return nil, fmt.Errorf("cannot start the process of pod %s: %w", pod.Name, err)
	}
	return &Replica{Server: server, Pod: pod.Name, UID: pod.UID}, nil
}

// address returns the address that a pod has in the virtual cluster, where every replica
// has another one. Nobody listens there.
func (f *Fleet) address(pod string) string {
	ordinal, _ := strconv.Atoi(strings.TrimPrefix(pod, f.release.Name()+"-"))
	return "172.31.0." + strconv.Itoa(ordinal+1)
}

// partsOf returns the argument with the parts of the server that a pod runs, if it has one.
func partsOf(pod *corev1.Pod) []string {
	return slices.DeleteFunc(slices.Clone(pod.Spec.Containers[0].Args), func(arg string) bool { return !strings.HasPrefix(arg, "--parts=") })
}

func (r *Replica) isGone() bool {
	select {
	case <-r.Exited():
		return true
	default:
		return false
	}
}
