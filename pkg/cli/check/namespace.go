package check

import (
	"context"
	"fmt"
	"slices"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// enforceLabel is the label of a namespace with the level of pod security.
const enforceLabel = "pod-security.kubernetes.io/enforce"

// checkNamespace checks that the namespace exists, or that the user may create it.
func (t *target) checkNamespace(ctx context.Context) result {
	const name = "namespace"
	namespace, err := t.client.CoreV1().Namespaces().Get(ctx, t.Namespace, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err):
		t.hasNamespace = true // most users may not look
		return skip(name, "the user may not look whether namespace %s exists", t.Namespace)
	case apierrors.IsNotFound(err):
		return t.checkCreateNamespace(ctx, name)
	case err != nil:
		return failWith(name, err)
	}
	t.hasNamespace = true
	if namespace.DeletionTimestamp != nil {
		return fail(name, "Wait until it is gone, or choose another one with -n.", "namespace %s is terminating", t.Namespace)
	}
	return pass(name, "namespace %s exists", t.Namespace)
}

// checkCreateNamespace checks that the user may create namespaces.
func (t *target) checkCreateNamespace(ctx context.Context, name string) result {
	attributes := authorizationv1.ResourceAttributes{Verb: "create", Resource: "namespaces"}
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &attributes}}
	answer, err := t.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return failWith(name, fmt.Errorf("cannot ask for the permissions of the user: %w", err))
	}
	if !answer.Status.Allowed {
		return fail(name, "Let an administrator of the host create it, or choose one that exists with -n.",
			"namespace %s does not exist, and the user may not create it", t.Namespace)
	}
	return pass(name, "namespace %s does not exist yet: \"sublet create\" creates it", t.Namespace)
}

// checkPodSecurity looks at the pod security level of the namespace. That of the virtual cluster is
// baseline, so restricted refuses pods that the tenant may create.
func (t *target) checkPodSecurity(ctx context.Context) result {
	const name = "pod-security"
	if !t.hasNamespace {
		return skip(name, "namespace %s does not exist yet", t.Namespace)
	}
	namespace, err := t.client.CoreV1().Namespaces().Get(ctx, t.Namespace, metav1.GetOptions{})
	if err != nil {
		return skip(name, "the user may not get namespace %s", t.Namespace)
	}
	switch level := namespace.Labels[enforceLabel]; level {
	case "restricted":
		return warn(name, "Set policies.podSecurityStandard=restricted, so that the tenant learns it at once.",
			"the host refuses pods that are not restricted, and the tenant sees the refusal as an Event")
	case "":
		fix := fmt.Sprintf("Add the level as a second line of defence: kubectl label namespace %s %s=baseline", t.Namespace, enforceLabel)
		return warn(name, fix, "namespace %s has no pod security level: only Sublet keeps the tenant's pods within theirs", t.Namespace)
	default:
		return pass(name, "namespace %s enforces the level %s", t.Namespace, level)
	}
}

// nearFull is the share of a quota that is worth a warning.
const nearFull = 0.9

// checkQuota looks for quotas of the namespace that are nearly used up.
func (t *target) checkQuota(ctx context.Context) result {
	const name = "quota"
	quotas, err := t.client.CoreV1().ResourceQuotas(t.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return skip(name, "the user may not list the quotas of namespace %s", t.Namespace)
	}
	full := []string{}
	for i := range quotas.Items {
		for resource, hard := range quotas.Items[i].Status.Hard {
			used := quotas.Items[i].Status.Used[resource]
			if hard.AsApproximateFloat64()*nearFull <= used.AsApproximateFloat64() {
				full = append(full, fmt.Sprintf("%s of %s/%s: %s of %s", resource, t.Namespace, quotas.Items[i].Name, used.String(), hard.String()))
			}
		}
	}
	slices.Sort(full)
	if len(full) > 0 {
		return warn(name, "Raise the quota, or delete what is not needed.", "nearly used up: %s", enumerate(full))
	}
	return pass(name, "%d quotas, none nearly used up", len(quotas.Items))
}
