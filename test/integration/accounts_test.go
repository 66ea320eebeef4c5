package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
	"github.com/sublet-dev/sublet/test/await"
)

// TestAccountsOnTheHost checks that pods run as copies of their accounts. The host, which
// refuses pods without an account, never refuses one.
func TestAccountsOnTheHost(t *testing.T) {
	r := newRelease(t)
	ctx := t.Context()
	r.startSome(t, r.allKinds(func(o *kinds.Options) {
		o.Sync.Kinds["sync.toHost.serviceAccounts"] = v1alpha1.KindSettings{Enabled: true}
		o.Sync.Kinds["sync.fromHost.nodes"] = v1alpha1.KindSettings{}
	}), "pods", "tokens", "serviceaccounts", "pseudonodes", "configmaps", "events")
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "builder"}}
	if err := r.virtual.client.Create(ctx, account); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: fmt.Sprintf("builder-%d", i)}, Spec: corev1.PodSpec{
			ServiceAccountName: "builder", Containers: []corev1.Container{{Name: "c", Image: "busybox"}},
		}}
		await.Until(t, "a pod of the account", func(ctx context.Context) error { return client.IgnoreAlreadyExists(r.virtual.client.Create(ctx, pod)) })
		await.Until(t, "its host pod", func(ctx context.Context) error {
			var host corev1.Pod
			if err := r.host.client.Get(ctx, r.hostKey(pod.Name), &host); err != nil {
				return err
			}
			if want := r.hostKey("builder").Name; host.Spec.ServiceAccountName != want || *host.Spec.AutomountServiceAccountToken {
				t.Errorf("the host pod runs as %s, want %s without a token", host.Spec.ServiceAccountName, want)
			}
			return nil
		})
	}
	r.bindHostPod(t, "builder-0")
	await.Until(t, "pseudo node of the pod", func(ctx context.Context) error {
		return r.virtual.client.Get(ctx, client.ObjectKey{Name: r.namespace}, &corev1.Node{})
	})
	await.Until(t, "pseudo node right after an event", func(ctx context.Context) error {
		synced, err := syncedKinds()
		if err != nil || slices.Contains(synced, "pseudonodes") {
			return err
		}
		return errors.Join(errors.New("not yet"), r.virtual.client.Delete(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: r.namespace}}))
	})
	var events corev1.EventList
	await.Until(t, "Event of the host about the pod", func(ctx context.Context) error {
		if err := r.virtual.client.List(ctx, &events, client.InNamespace(r.namespace)); err != nil {
			return err
		}
		if !slices.ContainsFunc(events.Items, func(e corev1.Event) bool { return e.Reason == "Scheduled" && e.InvolvedObject.Name == "builder-0" }) {
			return fmt.Errorf("it is not among %d", len(events.Items))
		}
		return nil
	})
	for i := range events.Items {
		if events.Items[i].Reason == "HostRefused" {
			t.Errorf("the host has refused a pod: %s", events.Items[i].Message)
		}
	}
}
