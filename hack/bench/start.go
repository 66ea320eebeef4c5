package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// retryPause is how soon a create that came too early is tried again.
const retryPause = 5 * time.Millisecond

// measureStart measures how soon a new virtual cluster is ready and has bound its first
// pod. Each run is a new release on an empty data folder, which must make its
// certificates first.
func (b *bench) measureStart(ctx context.Context) error {
	for range b.runs {
		if err := b.startOnce(ctx, nil, ""); err != nil {
			return err
		}
	}
	return nil
}

// startOnce starts a virtual cluster with the values, and adds figures whose names begin
// with store.
func (b *bench) startOnce(ctx context.Context, values map[string]any, store string) error {
	p, err := b.launchWith(ctx, values)
	if err != nil {
		return err
	}
	defer p.Stop()
	at, err := firstBound(ctx, p.client)
	if err != nil {
		return err
	}
	ready, first := p.ready.Sub(p.Started()), at.Sub(p.Started())
	b.progressf("  ready after %.2f s, first pod bound after %.2f s", ready.Seconds(), first.Seconds())
	b.add(store+"start_ready", ready.Seconds())
	b.add(store+"start_first_pod", first.Seconds())
	return nil
}

// firstBound creates a pod as soon as the API takes one and returns the time at
// which it has a node.
func firstBound(ctx context.Context, client kubernetes.Interface) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	watched, err := startWatcher(ctx, podsOf(client, metav1.NamespaceDefault, isBound))
	if err != nil {
		return time.Time{}, err
	}
	for {
		_, err := client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, newPod("first"), metav1.CreateOptions{})
		if err == nil {
			break
		}
		// Too early: the namespace has no default ServiceAccount yet.
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("cannot create the first pod: %w", err)
		case <-time.After(retryPause):
		}
	}
	if err := watched.wait(ctx, 1, "pods are bound", isDone); err != nil {
		return time.Time{}, err
	}
	return watched.latest(doneAt), nil
}

// newPod returns an ordinary small pod, with the token that every pod gets.
func newPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "bench"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name:  "main",
			Image: "registry.example.com/app:1.0",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU:    resource.MustParse("10m"),
				corev1.ResourceMemory: resource.MustParse("16Mi"),
			}},
		}}},
	}
}
