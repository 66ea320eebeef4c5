package virtualscheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// proposalPath is how a proposal gets to the syncer.
type proposalPath struct {
	// lag is how long the proposal may take until the host's answer or the proposal shows in the
	// cache. Then the plugin writes the proposal into the pod.
	lag time.Duration
	// onUnschedulable is the step for an unschedulable pod whose proposal was not seen yet.
	onUnschedulable proposalStep
}

// throughPod returns the path of a proposal that the scheduler writes into the pod. The status
// may still have the reason of an earlier attempt.
func throughPod() proposalPath {
	return proposalPath{lag: proposalLag, onUnschedulable: stepPropose}
}

// throughMemory returns the path of a proposal that the syncer reads in memory. No attempt has
// failed before, so a reason in the status is the host's answer.
func throughMemory() proposalPath {
	return proposalPath{lag: memoryLag, onUnschedulable: stepEnd}
}

// proposalStep is what the plugin does with a pod that waits for the host.
type proposalStep int

const (
	// stepWait waits for the next change of the pod.
	stepWait proposalStep = iota
	// stepPropose writes the proposal into the pod.
	stepPropose
	// stepEnd ends the attempt with the host's reason.
	stepEnd
)

// nextStep returns the step for a pod that is not bound. wasSeen specifies that the cache has shown
// the proposal, and isDue that it did not in time.
func (p proposalPath) nextStep(pod *corev1.Pod, node string, wasSeen, isDue bool) proposalStep {
	switch {
	case translate.Proposed(pod) == node:
		return stepWait
	case pod.Status.NominatedNodeName == node:
		// The condition is that of an earlier attempt.
		return stepPropose
	case wasSeen:
		// The syncer has withdrawn the proposal.
		return stepEnd
	case translate.IsUnschedulable(pod):
		return p.onUnschedulable
	case isDue:
		return stepPropose
	}
	return stepWait
}

// awaitHost waits for the host's answer about a node. It writes the proposal into the pod if the
// path did not bring it to the syncer.
func (p *plugin) awaitHost(ctx context.Context, pod *corev1.Pod, node string, path proposalPath) *fwk.Status {
	waiter := p.waiters.add(pod.UID, func() *corev1.Pod { return p.cached(pod) })
	defer p.waiters.removeWaiter(pod.UID, waiter)
	timer := p.clock.NewTimer(path.lag)
	defer timer.Stop()
	proposal := &proposalWriter{plugin: p, node: node, timer: timer}
	wasSeen, isDue := false, false
	for {
		current, bound, gone := waiter.state()
		if bound {
			// If the host has chosen another node, after a proposal older than this one,
			// that is the pod's node.
			return nil
		}
		if gone || current.DeletionTimestamp != nil {
			return fwk.AsStatus(errors.New("the pod was deleted while the host was asked"))
		}
		wasSeen = wasSeen || translate.Proposed(current) == node
		switch path.nextStep(current, node, wasSeen, isDue) {
		case stepWait:
		case stepEnd:
			return p.endAttempt(pod, node, refusalReason(current))
		case stepPropose:
			proposal.writeOnce(ctx, current)
		}
		isDue = false
		select {
		case <-ctx.Done():
			return fwk.AsStatus(context.Cause(ctx))
		case <-waiter.changed:
		case <-timer.C():
			isDue, proposal.isTried = !wasSeen, false
		}
	}
}

// endAttempt ends an attempt with the host's reason and plans the next one. The words
// are those of the pod's condition, so that the scheduler has nothing to add to it.
func (p *plugin) endAttempt(pod *corev1.Pod, node, reason string) *fwk.Status {
	p.backoff.recordRefusal(pod.UID, node, reason, func() {
		defer recoverEvent("Activate")
		p.handle.Activate(klog.Background(), map[string]*corev1.Pod{pod.Namespace + "/" + pod.Name: pod})
	})
	p.forgetGone(pod)
	return fwk.NewStatus(fwk.Unschedulable, reason)
}

// forgetGone forgets what was just recorded of a pod that is gone. The event of its deletion may have come before.
func (p *plugin) forgetGone(pod *corev1.Pod) {
	if cached := p.cached(pod); cached == nil || cached.UID != pod.UID {
		p.backoff.forget(pod.UID)
	}
}

// failuresPerLog is the number of failures in an attempt of which one is logged. A tenant can let every write to the
// status of its pods fail.
const failuresPerLog = 16

// proposalWriter writes the proposal of one attempt into its pod.
type proposalWriter struct {
	plugin   *plugin
	node     string
	timer    clock.Timer
	isTried  bool // since the timer fired
	failures int
}

// writeOnce writes the proposal, unless it has tried to since the timer fired. A webhook or a policy of the tenant may
// alter each proposal. A failure is tried again later.
func (w *proposalWriter) writeOnce(ctx context.Context, pod *corev1.Pod) {
	if w.isTried {
		return
	}
	w.isTried = true
	if err := w.plugin.writeProposal(ctx, pod, w.node); err != nil {
		w.failures++
		if w.failures%failuresPerLog == 1 {
			klog.FromContext(ctx).Error(err, "Cannot propose a node; retrying", "pod", klog.KObj(pod), "node", w.node, "failures", w.failures)
		}
	}
	w.timer.Reset(proposalRetry)
}

// writeProposal writes the node into the pod's status and removes the reason for
// which the pod had none. The scheduler's own write does not remove it.
func (p *plugin) writeProposal(ctx context.Context, pod *corev1.Pod, node string) error {
	patch := map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status": map[string]any{
			"nominatedNodeName": node,
			"conditions": []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
				Reason: translate.WaitingForHost, Message: "Waiting for the host to schedule the pod on node " + node,
				ObservedGeneration: pod.Generation, LastTransitionTime: metav1.NewTime(p.clock.Now()),
			}},
		},
	}
	data, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	_, err = p.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, data, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("cannot patch status of pod %s/%s to propose node %s: %w", pod.Namespace, pod.Name, node, err)
	}
	return nil
}

// refusalReason returns why a pod has no node.
func refusalReason(pod *corev1.Pod) string {
	for i := range pod.Status.Conditions {
		condition := &pod.Status.Conditions[i]
		if condition.Type == corev1.PodScheduled && condition.Reason != translate.WaitingForHost && condition.Message != "" {
			return condition.Message
		}
	}
	return "the proposal was withdrawn"
}
