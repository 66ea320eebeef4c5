package virtualscheduler

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	fwk "k8s.io/kube-scheduler/framework"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// pluginName is the plugin's name in the scheduler's logs and metrics.
const pluginName = "SubletHost"

// selectedNode is the annotation of a claim with the node for which the host makes a volume.
const selectedNode = "volume.kubernetes.io/selected-node"

const (
	// proposalLag is how long the scheduler's own proposal may take to show in the
	// cache before the plugin writes it again.
	proposalLag = time.Second
	// proposalRetry is the pause between two attempts to write a proposal.
	proposalRetry = 2 * time.Second
	// memoryLag is how long the host may take with a pod that is proposed in memory.
	// After that the proposal is written, so that the tenant sees what the pod waits for.
	memoryLag = 5 * time.Second
)

// shared is what the plugins of all profiles have in common.
type shared struct {
	client  kubernetes.Interface
	pods    corelisters.PodLister
	claims  corelisters.PersistentVolumeClaimLister
	clock   clock.WithDelayedExecution
	backoff *nodeBackoff
	waiters *podWaiters
	memory  *memoryProposals // nil if every proposal is written
}

// plugin asks the host before a pod is bound.
type plugin struct {
	*shared
	handle fwk.Handle
}

var (
	_ fwk.FilterPlugin      = &plugin{}
	_ fwk.PostFilterPlugin  = &plugin{}
	_ fwk.PreScorePlugin    = &plugin{}
	_ fwk.ScorePlugin       = &plugin{}
	_ fwk.EnqueueExtensions = &plugin{}
	_ fwk.SignPlugin        = &plugin{}
	_ fwk.PreBindPlugin     = &plugin{}
	_ fwk.BindPlugin        = &plugin{}
)

// factory returns the factory of the plugin of one profile.
func (s *shared) factory() frameworkruntime.PluginFactory {
	return func(_ context.Context, _ runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
		return &plugin{shared: s, handle: handle}, nil
	}
}

// Name implements fwk.Plugin.
func (p *plugin) Name() string { return pluginName }

// Filter keeps a pod off a node that the host refused it a short time ago.
func (p *plugin) Filter(ctx context.Context, _ fwk.CycleState, pod *corev1.Pod, node fwk.NodeInfo) (status *fwk.Status) {
	defer p.recoverAttempt(ctx, "Filter", pod, &status)
	reason := p.backoff.refusalReason(pod.UID, node.Node().Name)
	if reason == "" {
		return nil
	}
	// Nobody in the virtual cluster can make room for it.
	return fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "the host refused: "+reason)
}

// PostFilter records that no node was found for a pod. It never finds one.
func (p *plugin) PostFilter(ctx context.Context, _ fwk.CycleState, pod *corev1.Pod, _ fwk.NodeToStatusReader) (_ *fwk.PostFilterResult, status *fwk.Status) {
	defer p.recoverAttempt(ctx, "PostFilter", pod, &status)
	p.backoff.recordNoNode(pod.UID)
	p.forgetGone(pod)
	return nil, fwk.NewStatus(fwk.Unschedulable)
}

// PreScore skips Score for a pod that was never refused a node.
func (p *plugin) PreScore(ctx context.Context, _ fwk.CycleState, pod *corev1.Pod, _ []fwk.NodeInfo) (status *fwk.Status) {
	defer p.recoverAttempt(ctx, "PreScore", pod, &status)
	if !p.backoff.wasRefused(pod.UID) {
		return fwk.NewStatus(fwk.Skip)
	}
	return nil
}

// Score prefers nodes that never refused the pod, then those with the oldest refusal. So a
// pod whose profile prefers full nodes tries all others too. The nodes of its volumes come
// first, because many volumes can be used on one node only.
func (p *plugin) Score(ctx context.Context, _ fwk.CycleState, pod *corev1.Pod, node fwk.NodeInfo) (_ int64, status *fwk.Status) {
	defer p.recoverAttempt(ctx, "Score", pod, &status)
	return p.backoff.score(pod.UID, node.Node().Name, p.nodesOfClaims(pod)), nil
}

// nodesOfClaims returns the nodes for which the host has made volumes of a pod.
func (p *plugin) nodesOfClaims(pod *corev1.Pod) []string {
	var found []string
	for i := range pod.Spec.Volumes {
		source := pod.Spec.Volumes[i].PersistentVolumeClaim
		if source == nil {
			continue // An ephemeral volume is no older than its pod.
		}
		claim, err := p.claims.PersistentVolumeClaims(pod.Namespace).Get(source.ClaimName)
		if err != nil {
			continue // The scheduler has looked for it, too.
		}
		if node := claim.Annotations[selectedNode]; node != "" {
			found = append(found, node)
		}
	}
	return found
}

// ScoreExtensions returns nil: scores need no normalization.
func (p *plugin) ScoreExtensions() fwk.ScoreExtensions { return nil }

// EventsToRegister returns the event of a new node: it may take a pod that was
// refused all others. nodeBackoff retries those after a pause.
func (p *plugin) EventsToRegister(context.Context) ([]fwk.ClusterEventWithHint, error) {
	return []fwk.ClusterEventWithHint{{Event: fwk.ClusterEvent{Resource: fwk.Node, ActionType: fwk.Add}}}, nil
}

// SignPod lets the scheduler treat pods alike that were never refused a node.
func (p *plugin) SignPod(ctx context.Context, pod *corev1.Pod) (_ []fwk.SignFragment, status *fwk.Status) {
	defer p.recoverAttempt(ctx, "SignPod", pod, &status)
	if p.backoff.wasRefused(pod.UID) {
		return nil, fwk.NewStatus(fwk.Unschedulable, "the host has refused the pod before")
	}
	return nil, nil
}

// PreBindPreFlight returns whether the plugin will wait in PreBind. The scheduler then
// writes the node that it has picked. A pod that can be proposed in memory waits in Bind,
// before which nothing is written.
func (p *plugin) PreBindPreFlight(ctx context.Context, _ fwk.CycleState, pod *corev1.Pod, _ string) (_ *fwk.PreBindPreFlightResult, status *fwk.Status) {
	defer p.recoverAttempt(ctx, "PreBindPreFlight", pod, &status)
	if p.canProposeInMemory(pod) {
		return nil, fwk.NewStatus(fwk.Skip)
	}
	return &fwk.PreBindPreFlightResult{AllowParallel: true}, nil
}

// canProposeInMemory reports whether the host may be asked about a pod without a
// write to its status. That needs two things. No attempt has failed yet: a reason
// in the status is then the host's answer, not an older one that the cache is late
// with. And no claim of the pod waits for the host.
func (p *plugin) canProposeInMemory(pod *corev1.Pod) bool {
	cached := p.cached(pod)
	return p.memory != nil && cached != nil && cached.UID == pod.UID && cached.Status.NominatedNodeName == "" &&
		!translate.IsUnschedulable(cached) && !p.backoff.hasFailed(pod.UID) && len(pod.Spec.ResourceClaims) == 0 &&
		!slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.PersistentVolumeClaim != nil || v.Ephemeral != nil })
}

// PreBind writes a proposal, or makes sure that the scheduler has, and waits for
// the host's answer.
func (p *plugin) PreBind(ctx context.Context, _ fwk.CycleState, pod *corev1.Pod, node string) (status *fwk.Status) {
	defer p.recoverAttempt(ctx, "PreBind", pod, &status)
	return p.awaitHost(ctx, pod, node, throughPod())
}

// Bind does nothing after PreBind: the syncer has bound the pod. Otherwise it
// proposes the node in memory and waits for the host's answer.
func (p *plugin) Bind(ctx context.Context, state fwk.CycleState, pod *corev1.Pod, node string) (status *fwk.Status) {
	defer p.recoverAttempt(ctx, "Bind", pod, &status)
	if !state.GetSkipPreBindPlugins().Has(pluginName) {
		return nil
	}
	defer p.memory.propose(pod, node)()
	return p.awaitHost(ctx, pod, node, throughMemory())
}

// cached returns the pod as the cache shows it, nil if it does not.
func (p *plugin) cached(pod *corev1.Pod) *corev1.Pod {
	found, err := p.pods.Pods(pod.Namespace).Get(pod.Name)
	if err != nil {
		return nil
	}
	return found
}
