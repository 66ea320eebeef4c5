package virtualscheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// pluginName is what the plugin is called in the scheduler's logs and metrics.
const pluginName = "SubletHost"

const (
	// proposalLag is how long the scheduler's own proposal may take to show in the
	// cache before the plugin makes sure of it.
	proposalLag = time.Second
	// proposalRetry is the pause between two attempts to write a proposal.
	proposalRetry = 2 * time.Second
)

// shared is what the plugin of all profiles has in common.
type shared struct {
	client  kubernetes.Interface
	pods    corelisters.PodLister
	clock   clock.WithDelayedExecution
	backoff *backoff
	waits   *waits
}

// plugin asks the host before a pod is bound.
type plugin struct {
	*shared
	handle fwk.Handle
}

var (
	_ fwk.FilterPlugin      = &plugin{}
	_ fwk.EnqueueExtensions = &plugin{}
	_ fwk.SignPlugin        = &plugin{}
	_ fwk.PreBindPlugin     = &plugin{}
	_ fwk.BindPlugin        = &plugin{}
)

// factory makes the plugin of a profile.
func (s *shared) factory() frameworkruntime.PluginFactory {
	return func(_ context.Context, _ runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
		return &plugin{shared: s, handle: handle}, nil
	}
}

// Name is part of fwk.Plugin.
func (p *plugin) Name() string { return pluginName }

// Filter keeps a pod off a node that the host refused it a short time ago.
func (p *plugin) Filter(_ context.Context, _ fwk.CycleState, pod *corev1.Pod, node fwk.NodeInfo) *fwk.Status {
	reason := p.backoff.reason(pod.UID, node.Node().Name)
	if reason == "" {
		return nil
	}
	// Nobody in the virtual cluster can make room for it.
	return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "the host refused: "+reason)
}

// EventsToRegister says that a new node may take a pod that has been refused all
// others. Those are tried again after a pause, see [backoff].
func (p *plugin) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{{Event: fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.Add}}}, nil
}

// SignPod lets the scheduler treat pods alike that have not been refused anything.
func (p *plugin) SignPod(_ context.Context, pod *corev1.Pod) ([]fwk.SignFragment, *fwk.Status) {
	if p.backoff.knows(pod.UID) {
		return nil, fwk.NewStatus(fwk.Unschedulable, "the host has refused the pod before")
	}
	return nil, nil
}

// PreBindPreFlight says that the plugin is going to wait, so that the scheduler
// writes down the node that it has picked. It waits beside those who wait for
// volumes: the host binds them with its own pod.
func (p *plugin) PreBindPreFlight(context.Context, fwk.CycleState, *corev1.Pod, string) (*fwk.PreBindPreFlightResult, *fwk.Status) {
	return &fwk.PreBindPreFlightResult{AllowParallel: true}, nil
}

// PreBind waits for the host's answer.
func (p *plugin) PreBind(ctx context.Context, _ fwk.CycleState, pod *corev1.Pod, node string) *fwk.Status { //nolint:cyclop // one case for each answer of the host, in the order in which they count
	one := p.waits.begin(pod.UID, func() *corev1.Pod { return p.cached(pod) })
	defer p.waits.end(pod.UID, one)
	check := p.clock.NewTimer(proposalLag)
	defer check.Stop()
	asked := false // the proposal has been seen in the cache
	for due := false; ; {
		now, bound, gone := one.state()
		if bound {
			// Should the host have chosen another node, after a proposal that is
			// older than this one, then that is the pod's node.
			return nil
		}
		if gone || now.DeletionTimestamp != nil {
			return fwk.AsStatus(errors.New("the pod was deleted while the host was asked"))
		}
		nominated := now.Status.NominatedNodeName == node
		switch {
		case nominated && translate.Proposed(now) == node:
			asked = true
		case asked && !nominated:
			return p.refused(pod, node, saidOf(now))
		case nominated || hasVerdict(now) || due:
			if err := p.propose(ctx, now, node); err != nil {
				klog.FromContext(ctx).Error(err, "The host cannot be asked; it is tried again", "pod", klog.KObj(pod), "node", node)
			}
			check.Reset(proposalRetry)
		}
		due = false
		select {
		case <-ctx.Done():
			return fwk.AsStatus(context.Cause(ctx))
		case <-one.changed:
		case <-check.C():
			due = !asked
		}
	}
}

// Bind has nothing left to do: the syncer has bound the pod.
func (p *plugin) Bind(context.Context, fwk.CycleState, *corev1.Pod, string) *fwk.Status {
	return nil
}

// cached is what the cache has of the pod, nil if nothing.
func (p *plugin) cached(pod *corev1.Pod) *corev1.Pod {
	found, err := p.pods.Pods(pod.Namespace).Get(pod.Name)
	if err != nil {
		return nil
	}
	return found
}

// refused ends an attempt with what the host said. The words are those of the
// pod's condition, so that the scheduler has nothing to add to it.
func (p *plugin) refused(pod *corev1.Pod, node, reason string) *fwk.Status {
	p.backoff.refused(pod.UID, node, reason, func() {
		p.handle.Activate(klog.Background(), map[string]*corev1.Pod{pod.Namespace + "/" + pod.Name: pod})
	})
	return fwk.NewStatus(fwk.Unschedulable, reason)
}

// propose writes the node into the pod's status and takes the reason away for
// which it had none before. What the scheduler writes itself does not do that.
func (p *plugin) propose(ctx context.Context, pod *corev1.Pod, node string) error {
	patch := map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status": map[string]any{
			"nominatedNodeName": node,
			"conditions": []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse,
				Reason: translate.WaitingForHost, Message: "the host is asked to take the pod on node " + node,
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
		return fmt.Errorf("cannot propose node %s for pod %s/%s: %w", node, pod.Namespace, pod.Name, err)
	}
	return nil
}

// hasVerdict says whether the pod bears a reason why it has no node, beside which
// nothing is a proposal.
func hasVerdict(pod *corev1.Pod) bool {
	condition := scheduled(pod)
	return condition != nil && condition.Reason != translate.WaitingForHost
}

// saidOf is the reason why a pod has no node.
func saidOf(pod *corev1.Pod) string {
	if condition := scheduled(pod); condition != nil && condition.Reason != translate.WaitingForHost && condition.Message != "" {
		return condition.Message
	}
	return "the proposal was taken back"
}

func scheduled(pod *corev1.Pod) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == corev1.PodScheduled {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}
