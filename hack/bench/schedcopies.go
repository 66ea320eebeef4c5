package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// copies creates on the host what the server creates there for a pod: the pod,
// pinned to a node, and the Secret with its token. It shows
// what the host alone leaves of its speed, if a virtual scheduler took no time.
type copies struct {
	client
	nodes  []string
	next   atomic.Int64
	pod    *corev1.Pod
	secret *corev1.Secret
}

// copies takes what the server makes of one pod for a pattern.
func (b *bench) copies(ctx context.Context, p *process, onHost client) (*copies, error) {
	const name = "pattern"
	if err := (client{p.client, metav1.NamespaceDefault}).create(ctx, name); err != nil {
		return nil, fmt.Errorf("cannot create a pod for a pattern: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	c := &copies{client: onHost, nodes: b.host.Nodes()}
	for {
		err := c.find(ctx, b, p.Namespace(), name)
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot find what a pod becomes on the host: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return c, p.client.CoreV1().Pods(metav1.NamespaceDefault).Delete(ctx, name, metav1.DeleteOptions{})
}

// find looks for the copies of a pod.
func (c *copies) find(ctx context.Context, b *bench, namespace, name string) error {
	ours := metav1.ListOptions{LabelSelector: labels.Cluster}
	pods, err := b.host.Client().CoreV1().Pods(namespace).List(ctx, ours)
	if err != nil {
		return err
	}
	for i := range pods.Items {
		if pods.Items[i].Annotations[labels.VirtualName] == name {
			c.pod = &pods.Items[i]
		}
	}
	secrets, err := b.host.Client().CoreV1().Secrets(namespace).List(ctx, ours)
	if err != nil {
		return err
	}
	for i := range secrets.Items {
		if secrets.Items[i].Annotations[labels.VirtualName] == name {
			c.secret = &secrets.Items[i]
		}
	}
	if c.pod == nil || c.secret == nil {
		return errors.New("the pod or its Secret is not there")
	}
	return nil
}

// create creates both copies.
func (c *copies) create(ctx context.Context, name string) error {
	secret, pod := c.secret.DeepCopy(), c.pod.DeepCopy()
	secret.ObjectMeta = metav1.ObjectMeta{Name: name, Labels: secret.Labels, Annotations: secret.Annotations}
	pod.ObjectMeta = metav1.ObjectMeta{Name: name, Labels: pod.Labels, Annotations: pod.Annotations}
	pod.Status = corev1.PodStatus{}
	pod.Spec.NodeName, pod.Spec.ServiceAccountName, pod.Spec.DeprecatedServiceAccount = "", "default", ""
	node := c.nodes[int(c.next.Add(1))%len(c.nodes)]
	pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields[0].Values = []string{node}
	if _, err := c.CoreV1().Secrets(c.namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := c.CoreV1().Pods(c.namespace).Create(ctx, pod, metav1.CreateOptions{})
	return err
}

// clear deletes the Secrets, which nobody else does.
func (c *copies) clear(ctx context.Context) error {
	err := c.CoreV1().Secrets(c.namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: labels.Cluster})
	if err != nil {
		return fmt.Errorf("cannot delete the Secrets: %w", err)
	}
	return nil
}
