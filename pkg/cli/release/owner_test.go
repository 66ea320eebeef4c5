package release

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestGitOpsOwner recognizes what Argo CD and Flux have applied, each in the ways in which it marks objects.
func TestGitOpsOwner(t *testing.T) {
	t.Parallel()
	managed := func(manager, subresource string) metav1.ObjectMeta {
		return metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{Manager: manager, Subresource: subresource}}}
	}
	for want, meta := range map[string][]metav1.ObjectMeta{
		"": {
			{}, managed("helm", ""), managed("argocd-controller", "status"),
			{Labels: map[string]string{"app.kubernetes.io/instance": "shop"}},
		},
		"HelmRelease flux-system/shop of Flux": {{Labels: map[string]string{
			"helm.toolkit.fluxcd.io/name": "shop", "helm.toolkit.fluxcd.io/namespace": "flux-system",
		}}},
		"Kustomization flux-system/tenants of Flux": {{Labels: map[string]string{
			"kustomize.toolkit.fluxcd.io/name": "tenants", "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
		}}},
		"Application tenants of Argo CD": {
			{Annotations: map[string]string{"argocd.argoproj.io/tracking-id": "tenants:apps/StatefulSet:tenant-shop/shop"}},
			{Labels: map[string]string{"argocd.argoproj.io/instance": "tenants"}},
		},
		"an Application of Argo CD": {managed("argocd-controller", "")},
	} {
		for _, m := range meta {
			if got := gitOpsOwner(&appsv1.StatefulSet{ObjectMeta: m}); got != want {
				t.Errorf("%+v is kept by %q, want %q", m, got, want)
			}
		}
	}
}
