package app

import (
	"context"
	"fmt"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// listBudgets lists the PodDisruptionBudgets of the tenant that select a pod, by live reads. Few
// evictions ask, only those that the host refuses.
func (v *virtualAPI) listBudgets(ctx context.Context, key types.NamespacedName) ([]policyv1.PodDisruptionBudget, error) {
	virtual, err := v.client(syncerUser)
	if err != nil {
		return nil, err
	}
	pod, err := virtual.CoreV1().Pods(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil // The virtual API server answers that.
	case err != nil:
		return nil, fmt.Errorf("cannot get pod %s: %w", key, err)
	}
	all, err := virtual.PolicyV1().PodDisruptionBudgets(key.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return selectBudgets(all.Items, pod.Labels), nil
}

// selectBudgets returns the budgets that select a pod with these labels, as the eviction of Kubernetes
// does: a budget with a wrong selector selects none.
func selectBudgets(all []policyv1.PodDisruptionBudget, of map[string]string) (selected []policyv1.PodDisruptionBudget) {
	for i := range all {
		selector, err := metav1.LabelSelectorAsSelector(all[i].Spec.Selector)
		if err == nil && selector.Matches(labels.Set(of)) {
			selected = append(selected, all[i])
		}
	}
	return selected
}
