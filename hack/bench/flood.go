package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// The size of the flood.
const (
	floodPause   = 5 * time.Second
	floodPods    = 10000
	floodWatches = 200
	floodStreams = 200
	// floodMap is the size of a ConfigMap in bytes, near the most that an API server takes.
	floodMap = 1000 << 10
)

// flood does to a virtual cluster what a hostile tenant may do, until ctx ends. It creates
// pods in a loop, ConfigMaps of 1 MiB with pods that refer to them, and Events. It keeps
// watches and followed logs open. The pods of a simulated host have no log. So each of these
// requests reaches the host and fails there, and is sent again.
func flood(ctx context.Context, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("cannot use the kubeconfig of the flood: %w", err)
	}
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	config.QPS, config.Burst = -1, -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("cannot create the client of the flood: %w", err)
	}
	var workers sync.WaitGroup
	for worker := range 4 {
		workers.Go(func() { floodWithPods(ctx, client, worker) })
	}
	workers.Go(func() { floodWithMaps(ctx, client) })
	workers.Go(func() { floodWithEvents(ctx, client) })
	for range floodWatches {
		workers.Go(func() { floodWithWatches(ctx, client) })
	}
	for range floodStreams {
		workers.Go(func() { floodWithStreams(ctx, client) })
	}
	workers.Wait()
	return nil
}

func floodWithPods(ctx context.Context, client kubernetes.Interface, worker int) {
	for i := 0; i < floodPods/4 && ctx.Err() == nil; i++ {
		_, _ = client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, newPod(fmt.Sprintf("flood-%d-%d", worker, i)), metav1.CreateOptions{})
	}
}

func floodWithMaps(ctx context.Context, client kubernetes.Interface) {
	data := map[string]string{"data": strings.Repeat("x", floodMap)}
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("map-%d", i)
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
		_, _ = client.CoreV1().ConfigMaps(metav1.NamespaceDefault).Create(ctx, object, metav1.CreateOptions{})
		pod := newPod(name)
		pod.Spec.Volumes = []corev1.Volume{{Name: "map", VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}},
		}}}
		_, _ = client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, pod, metav1.CreateOptions{})
	}
}

func floodWithEvents(ctx context.Context, client kubernetes.Interface) {
	for i := 0; ctx.Err() == nil; i++ {
		event := &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Name: fmt.Sprintf("event-%d", i)},
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: metav1.NamespaceDefault, Name: "flood-0-0"},
			Reason:         "Flood", Message: strings.Repeat("x", 1000), Type: corev1.EventTypeNormal,
		}
		_, _ = client.CoreV1().Events(metav1.NamespaceDefault).Create(ctx, event, metav1.CreateOptions{})
	}
}

func floodWithWatches(ctx context.Context, client kubernetes.Interface) {
	for ctx.Err() == nil {
		stream, err := client.CoreV1().Pods(metav1.NamespaceDefault).Watch(ctx, metav1.ListOptions{})
		if err != nil {
			waitAMoment(ctx)
			continue
		}
		for range stream.ResultChan() {
		}
	}
}

func floodWithStreams(ctx context.Context, client kubernetes.Interface) {
	for ctx.Err() == nil {
		log, err := client.CoreV1().Pods(metav1.NamespaceDefault).GetLogs("flood-0-0", &corev1.PodLogOptions{Follow: true}).Stream(ctx)
		if err == nil {
			_, _ = io.Copy(io.Discard, log)
			_ = log.Close()
		}
		waitAMoment(ctx)
	}
}

// waitAMoment keeps a request that fails from being sent again at once.
func waitAMoment(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
}
