package main

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/pkg/virtualscheduler/usage"
)

// measureSched measures the virtual scheduler: the burst of pods once more, up to the
// moment when all have a node.
func (b *bench) measureSched(ctx context.Context) error {
	direct, err := b.directClient(ctx)
	if err != nil {
		return err
	}
	p, err := b.launchWith(ctx, withScheduler())
	if err != nil {
		return err
	}
	defer p.Stop()
	if err := b.warm(ctx, p); err != nil {
		return err
	}
	onHost := client{direct, directNamespace}
	inVirtual := client{p.client, metav1.NamespaceDefault}
	copies, err := b.copies(ctx, p, onHost)
	if err != nil {
		return err
	}
	for run := -1; run < b.runs; run++ {
		prefix := fmt.Sprintf("sched-%d-", run+1)
		alone, err := onHost.schedule(ctx, p, prefix, onHost.create)
		if err != nil {
			return err
		}
		through, err := inVirtual.schedule(ctx, p, prefix, inVirtual.create)
		if err != nil {
			return err
		}
		copied, err := onHost.schedule(ctx, p, prefix, copies.create)
		if err != nil {
			return err
		}
		if err := copies.clear(ctx); err != nil {
			return err
		}
		if run < 0 {
			continue // The first burst pays for what no later one pays for.
		}
		b.progressf("  all bound: %.2f s virtual, %.2f s direct, %.2f s copies alone; CPU per pod: %.1f ms of the server and %.1f ms of the host, %.1f ms direct",
			through.took.Seconds(), alone.took.Seconds(), copied.took.Seconds(), through.server, through.host, alone.host)
		b.add("sched_ratio", float64(alone.took)/float64(through.took))
		b.add("sched_ratio_bound", float64(alone.took)/float64(copied.took))
		b.add("sched_bound_p50", percentile(through.each, 50))
		b.add("sched_bound_p99", percentile(through.each, 99))
		b.add("sched_cpu", through.server)
		b.add("sched_host_cpu", through.host/alone.host)
	}
	return nil
}

// withScheduler returns the values of a virtual cluster with a scheduler.
func withScheduler() map[string]any {
	return map[string]any{"controlPlane": map[string]any{
		"advanced": map[string]any{"virtualScheduler": map[string]any{"enabled": true}},
	}}
}

// scheduled is what it took until all pods of a burst had a node.
type scheduled struct {
	took time.Duration
	// each is how long each pod took in ms, from just before its create call.
	each []float64
	// server and host are the CPU time of the two processes in ms per pod. The host's
	// is this process, which also creates the pods and watches them.
	server, host float64
}

// client is where a burst is created: in a namespace of one of the two clusters.
type client struct {
	kubernetes.Interface
	namespace string
}

// create creates a pod.
func (c client) create(ctx context.Context, name string) error {
	_, err := c.CoreV1().Pods(c.namespace).Create(ctx, newPod(name), metav1.CreateOptions{})
	return err
}

// schedule creates the pods of a burst and deletes them when the last one has a
// node.
func (c client) schedule(ctx context.Context, p *process, prefix string, create func(ctx context.Context, name string) error) (*scheduled, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched, err := startWatcher(ctx, podsOf(c.Interface, c.namespace, isBound))
	if err != nil {
		return nil, err
	}
	before, err := cpuOfBoth(p)
	if err != nil {
		return nil, err
	}
	created, mu := map[string]time.Time{}, sync.Mutex{}
	begun := time.Now()
	err = inParallel(prefix, burstPods, func(name string) error {
		mu.Lock()
		created[name] = time.Now()
		mu.Unlock()
		return create(ctx, name)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot create the pods: %w", err)
	}
	if err := watched.wait(ctx, burstPods, "pods have a node", isDone); err != nil {
		return nil, err
	}
	after, err := cpuOfBoth(p)
	if err != nil {
		return nil, err
	}
	result := &scheduled{
		took:   watched.latest(doneAt).Sub(begun),
		server: milliseconds(after.server-before.server) / burstPods,
		host:   milliseconds(after.host-before.host) / burstPods,
	}
	for name, seen := range watched.all() {
		result.each = append(result.each, milliseconds(seen.done.Sub(created[name])))
	}
	return result, clearPods(ctx, c.Interface, c.namespace, watched)
}

// measureForeign measures what a foreign pod costs in the sums of usage. The 10,000 pods
// are on nodes without a simulated kubelet, so that nobody runs them.
func (b *bench) measureForeign(ctx context.Context) error {
	if err := b.fillForeign(ctx); err != nil {
		return err
	}
	for range b.runs {
		before := heap()
		watching, stop := context.WithCancel(ctx)
		u := usage.New(usage.Options{Host: b.host.Config(), Cluster: "bench"})
		ended := make(chan error, 1)
		go func() { ended <- u.Run(watching) }()
		for known := false; !known && ctx.Err() == nil; {
			_, known = u.Foreign(foreignNode(0), nil)
			time.Sleep(10 * time.Millisecond)
		}
		b.add("sched_foreign_pod", max(0, float64(heap())-float64(before))/foreignPods)
		taken, _ := u.Foreign(foreignNode(0), nil)
		if pods := taken.Pods().Value(); pods != foreignPods/manyNodes {
			b.progressf("  BROKEN: %d foreign pods on a node of %d", pods, foreignPods/manyNodes)
		}
		stop()
		if err := <-ended; err != nil {
			return err
		}
	}
	return nil
}

func foreignNode(i int) string { return fmt.Sprintf("foreign-%04d", i%manyNodes) }

// fillForeign makes the nodes and their pods.
func (b *bench) fillForeign(ctx context.Context) error {
	api := b.host.Client().CoreV1()
	if _, err := api.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "foreign"}}, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("cannot create the namespace of foreign pods: %w", err)
	}
	makeOne := func(i int) error {
		if i < manyNodes {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: foreignNode(i)}, Spec: corev1.NodeSpec{Unschedulable: true}}
			if _, err := api.Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
				return err
			}
		}
		pod := newPod(fmt.Sprintf("foreign-%d", i))
		pod.Spec.NodeName = foreignNode(i)
		_, err := api.Pods("foreign").Create(ctx, pod, metav1.CreateOptions{})
		return err
	}
	todo := make(chan int, foreignPods)
	for i := range foreignPods {
		todo <- i
	}
	close(todo)
	errs := make(chan error, burstWorkers)
	var workers sync.WaitGroup
	for range burstWorkers {
		workers.Go(func() {
			for i := range todo {
				if err := makeOne(i); err != nil {
					errs <- fmt.Errorf("cannot create foreign pod %d: %w", i, err)
					return
				}
			}
		})
	}
	workers.Wait()
	close(errs)
	return <-errs
}

// heap returns the bytes in use on the heap of this process.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
