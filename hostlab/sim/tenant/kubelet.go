package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/api/release"
)

// probeTimeout is how long a process may take to answer a probe.
const probeTimeout = time.Second

// restartPause is the least time between two starts of a process.
const restartPause = time.Second

// run compares pods with processes until ctx ends.
func (f *Fleet) run(ctx context.Context) {
	defer close(f.done)
	ticker := time.NewTicker(fleetPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := f.reconcile(ctx)
		if ctx.Err() != nil {
			return
		}
		f.mu.Lock()
		f.problem = err
		f.mu.Unlock()
	}
}

// reconcile does the next step for each pod of the control plane: it binds, starts or ends it.
func (f *Fleet) reconcile(ctx context.Context) error {
	names := release.Release{Name: f.release.Name(), Namespace: f.release.Namespace()}
	selector := metav1.FormatLabelSelector(names.ServerPods())
	pods, err := f.client.CoreV1().Pods(names.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector, ResourceVersion: "0"})
	if err != nil {
		return fmt.Errorf("cannot list the pods of the control plane: %w", err)
	}
	var errs []error
	for i := range pods.Items {
		errs = append(errs, f.reconcilePod(ctx, &pods.Items[i]))
	}
	f.endForced(pods.Items)
	return errors.Join(errs...)
}

func (f *Fleet) reconcilePod(ctx context.Context, pod *corev1.Pod) error {
	f.mu.Lock()
	replica, held := f.replicas[pod.UID], f.held[pod.Name]
	f.mu.Unlock()
	switch {
	case pod.DeletionTimestamp != nil:
		return f.end(ctx, pod, replica)
	case pod.Spec.NodeName == "":
		return f.bindPod(ctx, pod)
	case replica != nil && !replica.isGone():
		return f.setReady(ctx, pod, f.readiness(replica))
	case f.isNameTaken(pod):
		return nil // A kubelet too waits for the volume.
	case replica != nil:
		if err := f.setReady(ctx, pod, corev1.ConditionFalse); err != nil {
			return err
		}
	}
	if held || replica != nil && time.Since(replica.Started()) < restartPause {
		return nil
	}
	next, err := f.newReplica(ctx, pod)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replicas[pod.UID] = next
	go f.watchReadiness(ctx, next)
	return nil
}

// readiness returns whether the process of a replica is ready.
func (f *Fleet) readiness(replica *Replica) corev1.ConditionStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	if replica.ready {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

// isNameTaken reports whether the process of an earlier pod of that name still runs.
func (f *Fleet) isNameTaken(pod *corev1.Pod) bool {
	return slices.ContainsFunc(f.Replicas(), func(r *Replica) bool { return r.Pod == pod.Name && r.UID != pod.UID })
}

func (f *Fleet) bindPod(ctx context.Context, pod *corev1.Pod) error {
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: fleetNode},
	}
	err := f.client.CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{})
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot bind pod %s: %w", pod.Name, err)
	}
	return nil
}

// end lets the process of a deleted pod stop, and deletes the pod when it has.
func (f *Fleet) end(ctx context.Context, pod *corev1.Pod, replica *Replica) error {
	if replica != nil && !replica.isGone() {
		f.stop(replica, time.Duration(*pod.DeletionGracePeriodSeconds)*time.Second)
		return f.setReady(ctx, pod, corev1.ConditionFalse)
	}
	err := f.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("cannot delete pod %s: %w", pod.Name, err)
	}
	return nil
}

// endForced stops the processes of pods that do not exist any more.
func (f *Fleet) endForced(pods []corev1.Pod) {
	for _, replica := range f.Replicas() {
		if !slices.ContainsFunc(pods, func(pod corev1.Pod) bool { return pod.UID == replica.UID }) {
			f.stop(replica, stopGrace)
		}
	}
}

// stop asks the process to stop, once, and kills it after its time.
func (f *Fleet) stop(replica *Replica, grace time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if replica.ending {
		return
	}
	replica.ending, replica.ready = true, false
	go replica.stopWithin(grace)
}

// watchReadiness asks a process whether it is ready until it has ended. One that does not
// answer in time is not: as with a paused one, that delays nobody else.
func (f *Fleet) watchReadiness(ctx context.Context, replica *Replica) {
	ticker := time.NewTicker(fleetPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-replica.Exited():
			return
		case <-ticker.C:
		}
		err := f.probe(ctx, replica)
		f.mu.Lock()
		replica.ready = err == nil && !replica.ending
		f.mu.Unlock()
	}
}

// probe returns an error unless the process is ready and has a client.
func (f *Fleet) probe(ctx context.Context, replica *Replica) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if err := replica.Server.probe(ctx); err != nil {
		return err
	}
	if replica.Client() != nil {
		return nil
	}
	config, err := f.Tenant(ctx)
	if err != nil {
		return err
	}
	config.Host = "https://" + replica.Address()
	var client kubernetes.Interface
	if client, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("cannot create a client of pod %s: %w", replica.Pod, err)
	}
	replica.client.Store(&client)
	return nil
}

// setReady shows in the status of the pod whether its process is ready.
func (f *Fleet) setReady(ctx context.Context, pod *corev1.Pod, status corev1.ConditionStatus) error {
	shown := corev1.ConditionFalse
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			shown = condition.Status
		}
	}
	if shown == status && pod.Status.Phase == corev1.PodRunning {
		return nil
	}
	now := metav1.Now()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": map[string]any{
		"phase": corev1.PodRunning, "startTime": now,
		"conditions": []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: now}},
	}})
	if err != nil {
		return fmt.Errorf("cannot encode the status of pod %s: %w", pod.Name, err)
	}
	_, err = f.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("cannot patch the status of pod %s: %w", pod.Name, err)
	}
	return nil
}
