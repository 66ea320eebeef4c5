package kinds

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds/nodes"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Pods copies the tenant's pods to the host, which schedules and runs them. Package translate
// defines what the copy looks like.
func Pods(o Options) syncer.Resource[*corev1.Pod, *corev1.Pod] {
	p := newPods(o)
	r := syncer.Resource[*corev1.Pod, *corev1.Pod]{
		Owner:   syncer.Virtual,
		Names:   translate.Hashed,
		Load:    p.load,
		Want:    p.shouldCopy,
		Down:    p.fillHost,
		Up:      p.fillVirtual,
		Refused: p.recordRefused,
		RefusedResize: func(s syncer.Scope, virtual, host *corev1.Pod, reason string) {
			translate.SetRefusedResize(virtual, host, reason, s.Now)
		},
		EvictedWithCopy: true,
		Started:         p.started,
		LeastGrace:      translate.LeastGrace,
		Lost: func(s syncer.Scope, virtual *corev1.Pod) error {
			translate.FailLostPod(virtual, s.Now)
			return nil
		},
	}
	for _, w := range p.inputs() {
		if w.isOn {
			r.Indexes, r.Also = append(r.Indexes, w.indexes...), append(r.Also, w.watches...)
		}
	}
	return r
}

// pods is the kind with its settings.
type pods struct {
	options  Options
	settings translate.PodSettings
	leaving  *leavingPods
}

// newPods returns the kind with its settings.
func newPods(o Options) *pods {
	settings := o.Sync.ToHost.Pods
	return &pods{options: o, leaving: newLeavingPods(), settings: translate.PodSettings{
		KubernetesServiceIP: o.KubernetesServiceIP,
		DNSServiceIP:        o.DNSServiceIP,
		ClusterDomain:       o.ClusterDomain,
		NodeSearches:        o.NodeSearches,
		NodeSelector:        allowedNodes(o.Sync),
		HostSchedulers:      o.hostSchedulers(),
		AlwaysPull:          o.AlwaysPull,
		TranslateImage:      policy.TranslateImage(settings.TranslateImage),
		HostsImage:          hostsImage(settings.RewriteHosts),
		QuotaScope:          o.QuotaScope,
		ResourceClaims:      o.Sync.IsEnabled(policy.ResourceClaimsSetting),
		PassesLabel:         matches(settings.Labels.Allow),
		PassesAnnotation:    matches(settings.Annotations.Allow),
	}}
}

// fillHost fills in the host pod. It returns an error for a new one that must not start.
func (p *pods) fillHost(s syncer.Scope, virtual, host *corev1.Pod) error {
	virtual, err := p.applyPolicy(s, virtual, host)
	if err != nil {
		return err
	}
	if host.UID == "" {
		if err := p.checkVolumes(s, virtual); err != nil {
			return err
		}
		if err := p.checkResourceClaims(s, virtual); err != nil {
			return err
		}
	}
	in, err := p.hostInput(s, virtual, host)
	if err != nil {
		return err
	}
	// A pod without a controller must have none on the host either: nothing would create it again.
	translate.SetController(s.Cluster, host, metav1.GetControllerOfNoCopy(virtual) != nil)
	before := listsWithExtended(host)
	if err := translate.Pod(in, virtual, host); err != nil {
		return err
	}
	return p.dropUnknownResources(s, virtual, host, before)
}

// hostInput returns what the host pod depends on, in addition to the virtual pod. It reads no more
// than the state of the host pod requires.
func (p *pods) hostInput(s syncer.Scope, virtual, host *corev1.Pod) (in translate.PodInput, err error) {
	in = translate.PodInput{
		PodSettings:      p.settings,
		Cluster:          s.Cluster,
		ServiceAccount:   p.hostAccount(s, virtual),
		VirtualScheduler: p.options.usesVirtualScheduler(virtual),
		Node:             progress(s).Node,
		SeeksRoom:        progress(s).State == translate.PodSeeksRoom,
	}
	if in.Enforced, err = p.enforced(s, virtual); err != nil {
		return in, err
	}
	if host.UID == "" {
		in.HostRules = p.hostRules(virtual)
		if in.LacksLinks, err = lacksLinks(s, virtual); err != nil {
			return in, err
		}
	}
	if p.options.Sync.IsEnabled(networkPoliciesSetting) {
		if in.Isolation, err = isolation(s, virtual, host); err != nil {
			return in, err
		}
	}
	if in.SelectsTopology, err = p.hasTopologySelector(s, virtual, host); err != nil {
		return in, err
	}
	if translate.NeedsNamespaces(virtual, host) {
		var namespaces corev1.NamespaceList
		if err := s.Virtual.List(s.Context, &namespaces, client.UnsafeDisableDeepCopy); err != nil {
			return in, fmt.Errorf("cannot list namespaces: %w", err)
		}
		in.Namespaces = namespaces.Items
	}
	return in, nil
}

// applyPolicy returns the pod with the tolerations that the policy allows on the host. It returns an
// error if the pod violates the policy. Admission denies such a pod, unless it was stored before the
// policy.
func (p *pods) applyPolicy(s syncer.Scope, virtual, host *corev1.Pod) (*corev1.Pod, error) {
	rules := p.options.PodPolicy
	if rules == nil {
		return virtual, nil
	}
	class, err := p.runtimeClass(s, virtual)
	if err != nil {
		return nil, err
	}
	violations := rules.EvaluateCopy(policy.WithoutClass(virtual, class), host)
	if host.UID == "" && policy.HasExtendedResources(&virtual.Spec) {
		devices, err := p.deviceResources(s)
		if err != nil {
			return nil, err
		}
		violations = append(violations, devices.Evaluate(&virtual.Spec)...)
	}
	if len(violations) > 0 {
		return nil, &translate.UnsupportedError{Problems: []error{errors.New(policy.ShortMessage(violations))}}
	}
	passed := rules.PassTolerations(virtual.Spec.Tolerations)
	if len(passed) == len(virtual.Spec.Tolerations) {
		return virtual, nil
	}
	changed := *virtual
	changed.Spec.Tolerations = passed
	return &changed, nil
}

// hostsImage returns the image that rewrites /etc/hosts, empty if nothing does.
func hostsImage(settings v1alpha1.RewriteHosts) string {
	if !settings.Enabled {
		return ""
	}
	return settings.InitContainer.Image
}

// enforcedInAll returns the fields that the operator sets in every host pod.
func enforcedInAll(settings v1alpha1.Pods) translate.Enforced {
	enforced := translate.Enforced{
		Tolerations:       settings.Tolerations(),
		RuntimeClassName:  settings.RuntimeClassName,
		PriorityClassName: settings.PriorityClassName,
	}
	for _, class := range settings.HostPriorityClasses() {
		enforced.PriorityClasses = append(enforced.PriorityClasses, translate.PriorityClass(class))
	}
	return enforced
}

// copyNode copies the node of the host pod, once that node exists in the virtual cluster. The status is
// synced independently of that.
func copyNode(s syncer.Scope, host, virtual *corev1.Pod) error {
	if host.Spec.NodeName == "" || virtual.Spec.NodeName != "" ||
		virtual.DeletionTimestamp != nil || len(virtual.Spec.SchedulingGates) > 0 {
		// The API server rejects a binding of a terminating or gated pod.
		return nil
	}
	shown, err := isNodeShown(s, host.Spec.NodeName)
	if shown {
		virtual.Spec.NodeName = host.Spec.NodeName
	}
	return err
}

// podsOnNode returns the virtual pods that wait for a node to exist, because their host pods are bound
// to it.
func podsOnNode(s syncer.Scope, node client.Object) ([]types.NamespacedName, error) {
	var bound corev1.PodList
	err := s.Host.List(s.Context, &bound, client.InNamespace(s.Cluster.Namespace),
		client.MatchingFields{nodes.ByNode: node.GetName()}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("cannot list host pods on node %s: %w", node.GetName(), err)
	}
	var keys []types.NamespacedName
	for i := range bound.Items {
		key, ours := provenOrigin(s, &bound.Items[i])
		if !ours {
			continue
		}
		var virtual corev1.Pod
		found, err := lookUp(s, syncer.Virtual, key, &virtual)
		if err != nil {
			return nil, err
		}
		if found && virtual.Spec.NodeName == "" {
			keys = append(keys, key)
		}
	}
	return keys, nil
}
