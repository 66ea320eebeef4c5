package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// directNamespace is where pods are created without Sublet, to compare.
	directNamespace = "direct"
	// quotaNamespace is the same, with the quota and the limit range of the chart.
	quotaNamespace = "direct-quota"
)

// measureBurst measures many pods at once: in the virtual cluster, and the same pods on
// the host without it, there with and without a quota. They take turns, so that a slow
// moment of the machine meets all.
func (b *bench) measureBurst(ctx context.Context) error {
	direct, err := b.directClient(ctx)
	if err != nil {
		return err
	}
	p, err := b.startServer(ctx)
	if err != nil {
		return err
	}
	defer p.Stop()
	if err := b.warm(ctx, p); err != nil {
		return err
	}
	if err := b.copyLimits(ctx, p.Namespace()); err != nil {
		return err
	}
	for _, namespace := range []string{directNamespace, quotaNamespace} {
		if _, err := b.burstDirect(ctx, client{direct, namespace}, "warm-"); err != nil {
			return err
		}
	}
	for run := range b.runs {
		prefix := fmt.Sprintf("burst-%d-", run)
		alone, err := b.burstDirect(ctx, client{direct, directNamespace}, prefix)
		if err != nil {
			return err
		}
		through, err := b.burstVirtual(ctx, p, prefix)
		if err != nil {
			return err
		}
		limited, err := b.burstDirect(ctx, client{direct, quotaNamespace}, prefix)
		if err != nil {
			return err
		}
		b.progressf("  all Running: %.2f s virtual, %.2f s direct, %.2f s direct with a quota", through.running.Seconds(), alone.Seconds(), limited.Seconds())
		b.add("burst_ratio", float64(through.running)/float64(alone))
		b.add("burst_quota_ratio", float64(through.running)/float64(limited))
		b.add("burst_delete", through.deleted.Seconds())
		b.add("pod_cpu", milliseconds(through.cpu)/burstPods)
		b.add("pod_host_requests", through.requests/burstPods)
	}
	return nil
}

// copyLimits makes the namespace with a quota, like that of a release.
func (b *bench) copyLimits(ctx context.Context, release string) error {
	host := b.host.Client().CoreV1()
	if err := b.createNamespace(ctx, quotaNamespace); err != nil {
		return err
	}
	quotas, err := host.ResourceQuotas(release).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("cannot list the quotas of the release: %w", err)
	}
	for _, quota := range quotas.Items {
		like := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: quota.Name}, Spec: quota.Spec}
		if _, err := host.ResourceQuotas(quotaNamespace).Create(ctx, like, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("cannot create a quota: %w", err)
		}
	}
	ranges, err := host.LimitRanges(release).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("cannot list the limit ranges of the release: %w", err)
	}
	for _, limits := range ranges.Items {
		like := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: limits.Name}, Spec: limits.Spec}
		if _, err := host.LimitRanges(quotaNamespace).Create(ctx, like, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("cannot create a limit range: %w", err)
		}
	}
	return nil
}

// createNamespace creates a namespace of the host unless it exists.
func (b *bench) createNamespace(ctx context.Context, name string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := b.host.Client().CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create namespace %s: %w", name, err)
	}
	return nil
}

// directClient returns a client of the host like the tenant's: over TLS, in
// protobuf, without limits.
func (b *bench) directClient(ctx context.Context) (kubernetes.Interface, error) {
	if err := b.createNamespace(ctx, directNamespace); err != nil {
		return nil, err
	}
	kubeconfig, err := b.host.Kubeconfig()
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("cannot use the host's kubeconfig: %w", err)
	}
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.QPS, config.Burst = -1, -1
	return kubernetes.NewForConfig(config)
}

// burstDirect runs the burst on the host itself.
func (b *bench) burstDirect(ctx context.Context, c client, prefix string) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched, err := startWatcher(ctx, podsOf(c, c.namespace, running))
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := createPods(ctx, c, c.namespace, prefix); err != nil {
		return 0, err
	}
	if err := watched.wait(ctx, burstPods, "host pods are Running", isDone); err != nil {
		return 0, err
	}
	return watched.latest(doneAt).Sub(begun), clearPods(ctx, c, c.namespace, watched)
}

// burst is what a burst in a virtual cluster took.
type burst struct {
	// running is the time until the tenant saw the last pod run, and deleted the time of all deletes.
	running, deleted time.Duration
	// cpu is the CPU time of the server until the last pod ran.
	cpu time.Duration
	// requests is the number of requests to the host until then.
	requests float64
}

// burstVirtual runs the burst in the virtual cluster, and deletes its pods.
func (b *bench) burstVirtual(ctx context.Context, p *process, prefix string) (*burst, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	host, virtual, err := b.followBoth(ctx, p)
	if err != nil {
		return nil, err
	}
	requests, err := b.host.ServiceAccountRequests()
	if err != nil {
		return nil, err
	}
	cpu, err := p.cpu()
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	if err := createPods(ctx, p.client, metav1.NamespaceDefault, prefix); err != nil {
		return nil, err
	}
	created := time.Since(begun)
	if err := virtual.wait(ctx, burstPods, "virtual pods are Running", isDone); err != nil {
		return nil, err
	}
	cpuAfter, err := p.cpu()
	if err != nil {
		return nil, err
	}
	requestsAfter, err := b.host.ServiceAccountRequests()
	if err != nil {
		return nil, err
	}
	result := &burst{running: virtual.latest(doneAt).Sub(begun), cpu: cpuAfter - cpu, requests: requestsAfter - requests}
	b.progressf("  virtual: created after %.2f s, all on the host %.2f s, Running there %.2f s, Running here %.2f s", created.Seconds(),
		host.latest(thereAt).Sub(begun).Seconds(), host.latest(doneAt).Sub(begun).Seconds(), result.running.Seconds())

	begun = time.Now()
	err = inParallel(prefix, burstPods, func(name string) error {
		return p.client.CoreV1().Pods(metav1.NamespaceDefault).Delete(ctx, name, metav1.DeleteOptions{})
	})
	if err != nil {
		return nil, fmt.Errorf("cannot delete the pods: %w", err)
	}
	if err := allGone(ctx, host); err != nil {
		return nil, err
	}
	result.deleted = host.latest(goneAt).Sub(begun)
	return result, allGone(ctx, virtual)
}

func createPods(ctx context.Context, client kubernetes.Interface, namespace, prefix string) error {
	err := inParallel(prefix, burstPods, func(name string) error {
		_, err := client.CoreV1().Pods(namespace).Create(ctx, newPod(name), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot create the pods: %w", err)
	}
	return nil
}

// inParallel calls do for count names, with as many calls at once as there are
// workers.
func inParallel(prefix string, count int, do func(name string) error) error {
	names := make(chan string)
	errs := make(chan error, count)
	var workers sync.WaitGroup
	for range burstWorkers {
		workers.Go(func() {
			for name := range names {
				errs <- do(name)
			}
		})
	}
	for i := range count {
		names <- fmt.Sprintf("%s%d", prefix, i)
	}
	close(names)
	workers.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}
