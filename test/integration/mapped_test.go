package integration

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
	"github.com/sublet-dev/sublet/test/await"
)

// mapObjects switches on the kinds of objects of the host by name. Those with the label hidden
// are left out.
func mapObjects(byName map[string]string) func(*kinds.Options) {
	return func(o *kinds.Options) {
		o.Sync.FromHost.ConfigMaps.Mappings.ByName, o.Sync.FromHost.Secrets.Mappings.ByName = byName, byName
		for _, setting := range []string{"sync.fromHost.configMaps", "sync.fromHost.secrets"} {
			o.Sync.Kinds[setting] = v1alpha1.KindSettings{Enabled: true, Selected: &v1alpha1.Selected{Selector: metav1.LabelSelector{
				MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "hidden", Operator: metav1.LabelSelectorOpDoesNotExist}},
			}}}
		}
	}
}

// hasData waits until a virtual ConfigMap has a value, and is gone for an empty one.
func (r *release) hasData(t *testing.T, namespace, name, value string) {
	t.Helper()
	await.Until(t, namespace+"/"+name, func(ctx context.Context) error {
		var copied corev1.ConfigMap
		err := r.virtual.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &copied)
		if value == "" && apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil || copied.Data["k"] != value {
			return fmt.Errorf("got %v, %w", copied.Data, err)
		}
		return nil
	})
}

func TestObjectsOfTheHostByName(t *testing.T) {
	r := newRelease(t)
	shared, copies := r.namespace+"-shared", r.namespace+"-copies"
	t.Cleanup(func() { r.clear(shared); r.clear(copies) })
	ctx := t.Context()
	create := func(object client.Object) {
		t.Helper()
		if err := r.host.client.Create(ctx, object); err != nil {
			t.Fatal(err)
		}
	}
	configMap := func(name, value string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: shared, Name: name}, Data: map[string]string{"k": value}}
	}
	create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: shared}})
	original := configMap("ca", "1")
	create(original)
	create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: shared, Name: "ca"}, Data: map[string][]byte{"k": []byte("s")}})
	r.startSome(t, r.allKinds(mapObjects(map[string]string{shared + "/ca": copies + "/trust", shared + "/*": copies + "/*"})), "hostconfigmaps", "hostsecrets")

	r.hasData(t, copies, "trust", "1")
	await.Until(t, "the Secret", func(ctx context.Context) error {
		return r.virtual.client.Get(ctx, client.ObjectKey{Namespace: copies, Name: "trust"}, &corev1.Secret{})
	})
	original.Data["k"] = "2"
	if err := r.host.client.Update(ctx, original); err != nil {
		t.Fatal(err)
	}
	r.hasData(t, copies, "trust", "2")
	create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: shared, Name: "late"}, Data: map[string][]byte{"k": []byte("s")}})
	await.Until(t, "a later Secret", func(ctx context.Context) error {
		return r.virtual.client.Get(ctx, client.ObjectKey{Namespace: copies, Name: "late"}, &corev1.Secret{})
	})
	create(configMap("late", "3"))
	r.hasData(t, copies, "late", "3")
	unlabelled := configMap("unlabelled", "4")
	create(unlabelled)
	r.hasData(t, copies, "unlabelled", "4")
	unlabelled.Labels = map[string]string{"hidden": ""}
	if err := r.host.client.Update(ctx, unlabelled); err != nil {
		t.Fatal(err)
	}
	r.hasData(t, copies, "unlabelled", "")

	var namespace corev1.Namespace
	if err := r.virtual.client.Get(ctx, client.ObjectKey{Name: copies}, &namespace); err != nil {
		t.Fatal(err)
	}
	if err := r.virtual.client.Delete(ctx, &namespace); err != nil {
		t.Fatal(err)
	}
	await.Until(t, "a new namespace", func(ctx context.Context) error {
		var now corev1.Namespace
		if err := r.virtual.client.Get(ctx, client.ObjectKey{Name: copies}, &now); err != nil || now.UID == namespace.UID {
			return fmt.Errorf("UID %s, %w", now.UID, err)
		}
		return nil
	})
	r.hasData(t, copies, "trust", "2")
	r.hasData(t, copies, "late", "3")
	if err := r.host.client.Delete(ctx, original); err != nil {
		t.Fatal(err)
	}
	r.hasData(t, copies, "trust", "")
	r.hasData(t, copies, "late", "3")
}
