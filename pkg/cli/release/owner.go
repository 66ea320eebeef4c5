package release

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/host"
)

// Keys by which Argo CD and Flux mark objects that they apply.
const (
	argoTracking = "argocd.argoproj.io/tracking-id"
	argoInstance = "argocd.argoproj.io/instance"
	argoManager  = "argocd-controller"
	fluxHelm     = "helm.toolkit.fluxcd.io/"
	fluxApply    = "kustomize.toolkit.fluxcd.io/"
)

// gitOpsOwner returns what keeps a workload as a repository has it, as in "HelmRelease flux-system/shop of Flux". It is
// empty if nothing is known that does.
func gitOpsOwner(workload *appsv1.StatefulSet) string {
	for kind, prefix := range map[string]string{"HelmRelease": fluxHelm, "Kustomization": fluxApply} {
		if name := workload.Labels[prefix+"name"]; name != "" {
			return fmt.Sprintf("%s %s/%s of Flux", kind, workload.Labels[prefix+"namespace"], name)
		}
	}
	application, _, _ := strings.Cut(workload.Annotations[argoTracking], ":")
	if application == "" {
		application = workload.Labels[argoInstance]
	}
	isManaged := slices.ContainsFunc(workload.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == argoManager && entry.Subresource == ""
	})
	switch {
	case application != "":
		return fmt.Sprintf("Application %s of Argo CD", application)
	case isManaged:
		return "an Application of Argo CD"
	}
	return ""
}

// AddOwnerFlag adds the flag that allows a change of what Argo CD or Flux keeps.
func AddOwnerFlag(cmd *cobra.Command, ignore *bool) {
	cmd.Flags().BoolVar(ignore, "ignore-gitops", false, "Change it even if Argo CD or Flux keeps it as a repository has it")
}

// CheckOwner returns an error if Argo CD or Flux keeps the virtual cluster as a repository has it. They would undo the
// change, or install a deleted one again with an empty store.
func (c Cluster) CheckOwner() error {
	if c.GitOps == "" {
		return nil
	}
	return fault.New(fault.Conflict, "Change its repository instead. To do it here all the same, add --ignore-gitops, after you have suspended that one.",
		"%s keeps virtual cluster %s/%s as a repository has it, and would undo this", c.GitOps, c.Namespace, c.Name)
}

// CheckOwnerOf does what CheckOwner does for a release of the host's namespace. It returns nil if that has no control plane.
func CheckOwnerOf(ctx context.Context, h *host.Host, name string) error {
	workload, err := h.Client.AppsV1().StatefulSets(h.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil //nolint:nilerr // The upgrade reports what it cannot read.
	}
	return FromWorkload(workload).CheckOwner()
}
