package host

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	// exportPrefix is the name prefix of the ClusterRoleBindings of exported service accounts.
	exportPrefix = "sublet:export:"
	// sweepRetry is the pause after a failed sweep.
	sweepRetry = 10 * time.Second
)

// ExportBindings deletes ClusterRoleBindings of service accounts that are no longer exported, or
// that are exported with another role. Exported tokens are valid for up to 30 days. Without
// this, their holders would keep permissions that the operator has revoked.
type ExportBindings struct {
	// Virtual reaches the virtual cluster.
	Virtual kubernetes.Interface
	// Tokens are the tokens that the settings export now.
	Tokens []*AccountToken
	// Clock is the time.
	Clock clock.Clock
}

// Run sweeps once, and waits until ctx ends. One sweep is enough, because settings change only
// with a restart.
func (e *ExportBindings) Run(ctx context.Context) error {
	for {
		err := e.sweep(ctx)
		if err == nil {
			<-ctx.Done()
			return nil
		}
		klog.FromContext(ctx).Error(err, "Cannot take back the roles of service accounts that are not exported any more, retrying")
		select {
		case <-ctx.Done():
			return nil
		case <-e.Clock.After(sweepRetry):
		}
	}
}

// sweep deletes the bindings that no token needs.
func (e *ExportBindings) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	var wanted []string
	for _, token := range e.Tokens {
		if token.ClusterRole != "" {
			wanted = append(wanted, token.binding().Name)
		}
	}
	bindings := e.Virtual.RbacV1().ClusterRoleBindings()
	all, err := bindings.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("cannot list virtual ClusterRoleBindings: %w", err)
	}
	for i := range all.Items {
		if binding := &all.Items[i]; isExportBinding(binding) && !slices.Contains(wanted, binding.Name) {
			if err := bindings.Delete(ctx, binding.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("cannot delete virtual ClusterRoleBinding %s: %w", binding.Name, err)
			}
		}
	}
	return nil
}

// isExportBinding reports whether a binding is exactly as [AccountToken] creates it. A tenant
// may have created another one with this name prefix.
func isExportBinding(binding *rbacv1.ClusterRoleBinding) bool {
	if !strings.HasPrefix(binding.Name, exportPrefix) || len(binding.Subjects) != 1 {
		return false
	}
	account := binding.Subjects[0]
	created := (&AccountToken{Namespace: account.Namespace, Name: account.Name, ClusterRole: binding.RoleRef.Name}).binding()
	return created.Name == binding.Name && created.RoleRef == binding.RoleRef && reflect.DeepEqual(created.Subjects, binding.Subjects)
}
