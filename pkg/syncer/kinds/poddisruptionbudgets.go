package kinds

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// liftedBudgetPeriod is the time between two checks of a budget whose copy was deleted because of the
// drain timeout. It gets a copy again when the node is drained or uncordoned.
const liftedBudgetPeriod = 30 * time.Second

// PodDisruptionBudgets copies the tenant's budgets to the host, so that evictions on the host respect
// them. The virtual disruption controller owns the status and computes how many pods must stay
// healthy. If a host pod of the budget has been on a cordoned node for longer than the drain
// timeout, the copy is deleted. So every drain completes.
func PodDisruptionBudgets(o Options) syncer.Resource[*policyv1.PodDisruptionBudget, *policyv1.PodDisruptionBudget] {
	drains := drainTimeout{}
	if o.Sync.IsEnabled("sync.fromHost.nodes") { // Otherwise the host's nodes cannot be read.
		drains.timeout = time.Duration(o.Sync.ToHost.PodDisruptionBudgets.DrainTimeoutSeconds) * time.Second
	}
	r := syncer.Resource[*policyv1.PodDisruptionBudget, *policyv1.PodDisruptionBudget]{
		Owner: syncer.Virtual,
		Names: translate.Hashed,
		Want: func(s syncer.Scope, virtual, host *policyv1.PodDisruptionBudget) (bool, error) {
			if _, known := translate.BudgetMinimum(virtual); virtual.Spec.Selector == nil || host == nil && !known {
				return false, nil
			}
			lifted, err := drains.isExceeded(s, virtual, host)
			return !lifted, err
		},
		Down: func(s syncer.Scope, virtual, host *policyv1.PodDisruptionBudget) error {
			host.Labels = translate.SyncLabels(host.Labels, virtual.Labels)
			host.Spec = translate.BudgetSpec(s.Cluster, virtual, host.Spec)
			return nil
		},
	}
	if drains.timeout > 0 {
		r.Also = []syncer.Watch{
			{Side: syncer.Host, Object: &corev1.Node{}, All: true, Keys: budgetsOfNode},
			{Side: syncer.Host, Object: &corev1.Pod{}, Keys: budgetsOfPod},
		}
	}
	return r
}

// drainTimeout limits how long a budget may delay a drain.
type drainTimeout struct {
	timeout time.Duration // 0 for no bound
}

// isExceeded reports whether a host pod of the budget has been on a cordoned node for too long. It
// requests a reconcile for the time at which the result may change. Virtual pods do not count: the tenant
// writes their labels and may deny their bindings. host is the copy, nil if there is none.
func (d drainTimeout) isExceeded(s syncer.Scope, virtual, host *policyv1.PodDisruptionBudget) (bool, error) {
	if d.timeout == 0 {
		return false, nil
	}
	selectors := []*metav1.LabelSelector{translate.Selector(s.Cluster, virtual.Namespace, virtual.Spec.Selector)}
	if host != nil {
		selectors = append(selectors, host.Spec.Selector) // The host may have refused the last change.
	}
	nodes, err := nodesOf(s, selectors)
	if err != nil {
		return false, err
	}
	lifted := false
	for node := range nodes {
		wait, err := d.remaining(s, node)
		if err != nil {
			return false, err
		}
		switch {
		case wait < 0:
			lifted = true
			s.RequeueAfter(liftedBudgetPeriod)
		case wait > 0:
			s.RequeueAfter(wait)
		}
	}
	return lifted, nil
}

// nodesOf returns the names of the nodes on which host pods run that one of the selectors matches.
func nodesOf(s syncer.Scope, selectors []*metav1.LabelSelector) (map[string]bool, error) {
	nodes := map[string]bool{}
	for _, labelSelector := range selectors {
		selector, err := metav1.LabelSelectorAsSelector(labelSelector)
		if err != nil {
			continue // No API server stores it.
		}
		var pods corev1.PodList
		err = s.Host.List(s.Context, &pods, client.InNamespace(s.Cluster.Namespace),
			client.MatchingLabelsSelector{Selector: selector}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, fmt.Errorf("cannot list host pods: %w", err)
		}
		for i := range pods.Items {
			if node := pods.Items[i].Spec.NodeName; node != "" && !translate.IsFinished(&pods.Items[i]) {
				nodes[node] = true
			}
		}
	}
	return nodes, nil
}

// remaining returns how long a budget may still delay a drain of the node. It is negative after the
// timeout, and zero if the node is not cordoned.
func (d drainTimeout) remaining(s syncer.Scope, name string) (time.Duration, error) {
	node := &corev1.Node{}
	if _, err := lookUp(s, syncer.Host, types.NamespacedName{Name: name}, node); err != nil {
		return 0, err
	}
	since := cordonedSince(node)
	if since.IsZero() {
		return 0, nil
	}
	if left := d.timeout - s.Now.Sub(since); left > 0 {
		return left, nil
	}
	return -1, nil
}

// cordonedSince returns when a node was cordoned, the zero time if it is not. The node
// lifecycle controller of the host writes the time into the taint.
func cordonedSince(node *corev1.Node) time.Time {
	for _, taint := range node.Spec.Taints {
		if taint.Key == corev1.TaintNodeUnschedulable && taint.TimeAdded != nil {
			return taint.TimeAdded.Time
		}
	}
	return time.Time{}
}

// budgetsOfNode returns all budgets if a host node is cordoned.
func budgetsOfNode(s syncer.Scope, object client.Object) ([]types.NamespacedName, error) {
	if node, ok := object.(*corev1.Node); !ok || cordonedSince(node).IsZero() {
		return nil, nil
	}
	return listBudgets(s, "")
}

// budgetsOfPod returns the budgets of the virtual namespace of a host pod if its node is cordoned.
func budgetsOfPod(s syncer.Scope, object client.Object) ([]types.NamespacedName, error) {
	pod, ok := object.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" || pod.Labels[labels.Namespace] == "" {
		return nil, nil
	}
	node := &corev1.Node{}
	_, err := lookUp(s, syncer.Host, types.NamespacedName{Name: pod.Spec.NodeName}, node)
	if err != nil || cordonedSince(node).IsZero() {
		return nil, err
	}
	return listBudgets(s, pod.Labels[labels.Namespace])
}

// listBudgets returns the virtual budgets of a namespace, or of all.
func listBudgets(s syncer.Scope, namespace string) ([]types.NamespacedName, error) {
	var budgets policyv1.PodDisruptionBudgetList
	if err := s.Virtual.List(s.Context, &budgets, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("cannot list PodDisruptionBudgets: %w", err)
	}
	return keysOf(budgets.Items, nil), nil
}
