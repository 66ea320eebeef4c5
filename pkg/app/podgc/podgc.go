// Package podgc deletes the oldest finished pods of a virtual cluster when there are too many.
// The copy of each is an object of the host, where all tenants share one limit of finished pods.
// When the host reaches it, it deletes finished pods of any tenant.
//
// Upstream's pod garbage collector also deletes pods whose node is gone. That is not needed
// here: the host does so, and the syncer follows.
package podgc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// period is the time between two collections. It is that of upstream's pod garbage collector.
const period = 20 * time.Second

// Collector deletes finished pods.
type Collector struct {
	// Client writes to the virtual cluster. Required.
	Client kubernetes.Interface
	// Pods reads its pods. Required.
	Pods corelisters.PodLister
	// Keep is the number of finished pods to keep. 0 keeps all.
	Keep int
	// Clock is the time. Required.
	Clock clock.Clock
}

// Run deletes finished pods periodically until ctx ends.
func (c *Collector) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.Clock.After(period):
		}
		if err := c.collect(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Cannot delete finished pods, retrying")
		}
	}
}

// collect deletes the oldest finished pods above the number to keep. It returns the errors of all pods that it cannot
// delete, so that one of them does not keep the others.
func (c *Collector) collect(ctx context.Context) error {
	if c.Keep == 0 {
		return nil
	}
	finished, err := c.listFinished()
	if err != nil {
		return err
	}
	var errs []error
	for _, pod := range finished[:max(len(finished)-c.Keep, 0)] {
		err := c.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: new(int64), Preconditions: &metav1.Preconditions{UID: &pod.UID},
		})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("cannot delete finished pod %s/%s: %w", pod.Namespace, pod.Name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// listFinished returns the finished pods, the oldest first.
func (c *Collector) listFinished() ([]*corev1.Pod, error) {
	pods, err := c.Pods.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("cannot list pods: %w", err)
	}
	var finished []*corev1.Pod
	for _, pod := range pods {
		if pod.DeletionTimestamp == nil && translate.IsFinished(pod) {
			finished = append(finished, pod)
		}
	}
	slices.SortFunc(finished, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return finished, nil
}
