package host

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
)

// TestExportBindings changes which accounts are exported, and with which role. A former role must
// go, although the first attempt fails, and bindings of the tenant must stay.
func TestExportBindings(t *testing.T) {
	t.Parallel()
	w := newTokenWorld(t)
	account := func(name, role string) *AccountToken {
		return &AccountToken{Virtual: w.client, Namespace: "kube-system", Name: name, ClusterRole: role, Clock: w.clock}
	}
	for _, before := range []*AccountToken{account("deployer", "cluster-admin"), account("former", "edit")} {
		if err := before.ensureAccount(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	viewer := account("deployer", "view")
	if err := viewer.ensureAccount(t.Context()); err != nil {
		t.Fatal(err)
	}
	bindings := w.client.RbacV1().ClusterRoleBindings()
	foreign := account("tenants", "edit").binding()
	foreign.Subjects[0].Kind = rbacv1.UserKind
	named := account("mine", "edit").binding()
	named.Name = "sublet:export:mine"
	for _, binding := range []*rbacv1.ClusterRoleBinding{foreign, named} {
		if _, err := bindings.Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	refused := &atomic.Bool{}
	w.client.PrependReactor("list", "clusterrolebindings", func(clienttesting.Action) (bool, runtime.Object, error) {
		return !refused.Swap(true), nil, errors.New("the API server is starting")
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	sweeper := &ExportBindings{Virtual: w.client, Tokens: []*AccountToken{viewer, account("none", "")}, Clock: w.clock}
	go func() { ended <- sweeper.Run(ctx) }()
	want := []string{"sublet:export:kube-system:deployer:view", "sublet:export:kube-system:tenants:edit", "sublet:export:mine"}
	eventually(t, "a first attempt that fails", w.clock.HasWaiters)
	w.clock.Step(sweepRetry)
	eventually(t, "former roles are gone", func() bool {
		all, err := w.client.RbacV1().ClusterRoleBindings().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range all.Items {
			got = append(got, all.Items[i].Name)
		}
		slices.Sort(got)
		return slices.Equal(want, got)
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
