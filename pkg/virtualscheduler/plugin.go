package virtualscheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	// handedLag is how long the host may take with a pod that was handed over before
	// the proposal is written down, for the tenant to see what the pod waits for.
	handedLag = 5 * time.Second
)

// shared is what the plugin of all profiles has in common.
type shared struct {
	client  kubernetes.Interface
	pods    corelisters.PodLister
	clock   clock.WithDelayedExecution
	backoff *backoff
	waits   *waits
	handed  *handed
}

// plugin asks the host before a pod is bound.
type plugin struct {
	*shared
	handle fwk.Handle
}

var (
	_ fwk.FilterPlugin      = &plugin{}
	_ fwk.PostFilterPlugin  = &plugin{}
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

// PostFilter notes that no node was found for a pod. It makes none fit.
func (p *plugin) PostFilter(_ context.Context, _ fwk.CycleState, pod *corev1.Pod, _ fwk.NodeToStatusReader) (*fwk.PostFilterResult, *fwk.Status) {
	p.backoff.miss(pod.UID)
	return nil, fwk.NewStatus(fwk.Unschedulable)
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

// PreBindPreFlight says whether the plugin is going to wait in PreBind. If so, the
// scheduler writes down the node that it has picked. It waits there beside those
// who wait for volumes: the host binds them with its own pod. A simple case is
// handed over in Bind, where nothing is written first.
func (p *plugin) PreBindPreFlight(_ context.Context, _ fwk.CycleState, pod *corev1.Pod, _ string) (*fwk.PreBindPreFlightResult, *fwk.Status) {
	if p.simple(pod) {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	return &fwk.PreBindPreFlightResult{AllowParallel: true}, nil
}

// simple says whether the host may be asked about a pod without a word in its
// status: no attempt has failed yet, so that whatever reason is written there is the
// host's answer and not an older one that the cache is late with, and no claim of it
// waits for the host.
func (p *plugin) simple(pod *corev1.Pod) bool {
	now := p.cached(pod)
	return p.handed != nil && now != nil && now.UID == pod.UID && now.Status.NominatedNodeName == "" &&
		!translate.TurnedAway(now) && !p.backoff.unlucky(pod.UID) && len(pod.Spec.ResourceClaims) == 0 &&
		!slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.PersistentVolumeClaim != nil || v.Ephemeral != nil })
}

// PreBind writes a proposal, or makes sure that the scheduler has, and waits for
// the host's answer.
func (p *plugin) PreBind(ctx context.Context, _ fwk.CycleState, pod *corev1.Pod, node string) *fwk.Status {
	return p.ask(ctx, pod, node, false)
}

// Bind has nothing left to do after PreBind: the syncer has bound the pod. A simple
// pod is handed over here.
func (p *plugin) Bind(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, node string) *fwk.Status {
	if !state.GetSkipPreBindPlugins().Has(pluginName) {
		return nil
	}
	defer p.handed.over(pod, node)()
	return p.ask(ctx, pod, node, true)
}

// ask waits for the host's answer about a node. handed says that the syncer knows
// the proposal without finding it in the pod.
func (p *plugin) ask(ctx context.Context, pod *corev1.Pod, node string, handed bool) *fwk.Status { //nolint:cyclop // one case for each answer of the host, in the order in which they count
	one := p.waits.begin(pod.UID, func() *corev1.Pod { return p.cached(pod) })
	defer p.waits.end(pod.UID, one)
	lag := proposalLag
	if handed {
		lag = handedLag
	}
	check := p.clock.NewTimer(lag)
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
		case asked && !nominated, handed && !asked && !nominated && translate.TurnedAway(now):
			return p.refused(pod, node, saidOf(now))
		case nominated || !handed && translate.TurnedAway(now) || due:
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

// saidOf is the reason why a pod has no node.
func saidOf(pod *corev1.Pod) string {
	for i := range pod.Status.Conditions {
		condition := &pod.Status.Conditions[i]
		if condition.Type == corev1.PodScheduled && condition.Reason != translate.WaitingForHost && condition.Message != "" {
			return condition.Message
		}
	}
	return "the proposal was taken back"
}
