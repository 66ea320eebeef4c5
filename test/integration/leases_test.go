package integration

import (
	"context"
	"fmt"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// TestLeases syncs a kind that is off by default and that the engine knows by discovery
// alone: a Lease is copied, renewed and deleted. One of its labels keeps its key.
func TestLeases(t *testing.T) {
	r := newRelease(t)
	r.startSome(t, r.allKinds(func(o *kinds.Options) {
		o.Sync.Kinds["sync.toHost.leases"] = v1alpha1.KindSettings{
			Enabled: true, CopiedLabels: &v1alpha1.CopiedLabels{Labels: v1alpha1.CopiedKeys{Allow: []string{"team"}}},
		}
	}), "leases")
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "leader", Labels: map[string]string{"team": "a", "other": "b"}},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: new("one")},
	}
	if err := r.virtual.client.Create(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	holds := func(holder string) {
		t.Helper()
		eventually(t, "Lease of "+holder, func(ctx context.Context) error {
			host := &coordinationv1.Lease{}
			if err := r.host.client.Get(ctx, r.hostKey(lease.Name), host); err != nil {
				return err
			}
			if host.Spec.HolderIdentity == nil || *host.Spec.HolderIdentity != holder {
				return fmt.Errorf("the host has %v", host.Spec)
			}
			if host.Labels["team"] != "a" || host.Labels["other"] != "" {
				return fmt.Errorf("the host has the labels %v", host.Labels)
			}
			return nil
		})
	}
	holds("one")
	before := lease.DeepCopy()
	lease.Spec.HolderIdentity = new("two")
	if err := r.virtual.client.Patch(t.Context(), lease, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	holds("two")
	if err := r.virtual.client.Delete(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	eventually(t, "end of the Lease", func(ctx context.Context) error {
		err := r.host.client.Get(ctx, r.hostKey(lease.Name), &coordinationv1.Lease{})
		if err == nil {
			return fmt.Errorf("the host still has it")
		}
		return client.IgnoreNotFound(err)
	})
}
