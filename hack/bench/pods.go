package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/api/labels"
)

// measurePods measures how long one pod takes from one side to the other when there is
// time for each.
func (b *bench) measurePods(ctx context.Context) error {
	return b.eachRun(ctx, nil, func(p *process, run int) error {
		return b.podsOnce(ctx, p, fmt.Sprintf("paced-%d-", run), "")
	})
}

// eachRun measures once per run in one virtual cluster with the values, which has run a
// pod already.
func (b *bench) eachRun(ctx context.Context, values map[string]any, measure func(p *process, run int) error) error {
	p, err := b.launchWith(ctx, values)
	if err != nil {
		return err
	}
	defer p.Stop()
	if err := b.warm(ctx, p); err != nil {
		return err
	}
	for run := range b.runs {
		if err := measure(p, run); err != nil {
			return err
		}
	}
	return nil
}

// podsOnce creates pods with a prefix and adds figures whose names begin with store.
func (b *bench) podsOnce(ctx context.Context, p *process, prefix, store string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	host, virtual, err := b.followBoth(ctx, p)
	if err != nil {
		return err
	}
	created, err := createPaced(ctx, p, prefix)
	if err != nil {
		return err
	}
	for _, w := range []*watcher{virtual, host} {
		if err := w.wait(ctx, pacedPods, "pods are Running", isDone); err != nil {
			return err
		}
	}
	var down, up []float64
	onHost, onVirtual := host.all(), virtual.all()
	for name, at := range created {
		down = append(down, milliseconds(onHost[name].there.Sub(at)))
		up = append(up, milliseconds(onVirtual[name].done.Sub(onHost[name].done)))
	}
	b.progressf("  down %.1f / %.1f ms, up %.1f / %.1f ms", percentile(down, 50), percentile(down, 99), percentile(up, 50), percentile(up, 99))
	b.add(store+"pod_down_p50", percentile(down, 50))
	b.add(store+"pod_down_p99", percentile(down, 99))
	b.add(store+"pod_up_p50", percentile(up, 50))
	b.add(store+"pod_up_p99", percentile(up, 99))
	return clearPods(ctx, p.client, metav1.NamespaceDefault, virtual, host)
}

// createPaced creates pods with a prefix, one after the other. It returns the time of each, from
// just before its create call.
func createPaced(ctx context.Context, p *process, prefix string) (map[string]time.Time, error) {
	created := map[string]time.Time{}
	pace := time.NewTicker(pacePause)
	defer pace.Stop()
	for i := range pacedPods {
		<-pace.C
		name := fmt.Sprintf("%s%d", prefix, i)
		created[name] = time.Now()
		if _, err := p.client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, newPod(name), metav1.CreateOptions{}); err != nil {
			return nil, fmt.Errorf("cannot create pod %s: %w", name, err)
		}
	}
	return created, nil
}

// warm runs one pod: the first one pays for connections and caches that no later
// one pays for.
func (b *bench) warm(ctx context.Context, p *process) error {
	if _, err := firstBound(ctx, p.client); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	host, virtual, err := b.followBoth(ctx, p)
	if err != nil {
		return err
	}
	if err := virtual.wait(ctx, 1, "pods are Running", isDone); err != nil {
		return err
	}
	return clearPods(ctx, p.client, metav1.NamespaceDefault, virtual, host)
}

// followBoth watches the pods of the tenant on both sides, by their virtual name.
func (b *bench) followBoth(ctx context.Context, p *process) (host, virtual *watcher, err error) {
	ofTenant := podsOf(b.host.Client(), p.Namespace(), running)
	ofTenant.name = func(pod *corev1.Pod) string { return pod.Annotations[labels.VirtualName] }
	if host, err = startWatcher(ctx, ofTenant); err != nil {
		return nil, nil, err
	}
	virtual, err = startWatcher(ctx, podsOf(p.client, metav1.NamespaceDefault, running))
	return host, virtual, err
}

// podsOf returns the pods of a namespace as a subject, by their name.
func podsOf(client kubernetes.Interface, namespace string, done func(*corev1.Pod) bool) subject[*corev1.Pod] {
	pods := client.CoreV1().Pods(namespace)
	return subject[*corev1.Pod]{
		list: func(ctx context.Context) ([]*corev1.Pod, string, error) {
			list, err := pods.List(ctx, metav1.ListOptions{})
			if err != nil {
				return nil, "", err
			}
			return pointers(list.Items), list.ResourceVersion, nil
		},
		watch: pods.Watch,
		name:  func(pod *corev1.Pod) string { return pod.Name },
		done:  done,
	}
}

func pointers[T any](items []T) []*T {
	all := make([]*T, len(items))
	for i := range items {
		all[i] = &items[i]
	}
	return all
}

func isBound(pod *corev1.Pod) bool { return pod.Spec.NodeName != "" }

func running(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodRunning }

// clearPods deletes all pods and waits until the watchers have seen the last go.
func clearPods(ctx context.Context, client kubernetes.Interface, namespace string, watchers ...*watcher) error {
	if err := client.CoreV1().Pods(namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		return fmt.Errorf("cannot delete the pods: %w", err)
	}
	return allGone(ctx, watchers...)
}

// allGone waits until everything that was seen is gone.
func allGone(ctx context.Context, watchers ...*watcher) error {
	for _, w := range watchers {
		if err := w.wait(ctx, len(w.all()), "pods are gone", isGone); err != nil {
			return err
		}
	}
	return nil
}
