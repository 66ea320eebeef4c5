package kinds

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
)

// TestReferrers checks that a Secret which only an object of another kind refers to gets
// a copy, and loses it together with that object.
func TestReferrers(t *testing.T) {
	t.Parallel()
	o := testOptions()
	o.Referrers = []Referrer{{Object: &networkingv1.Ingress{}, Refers: func(object client.Object) Refs {
		var refs Refs
		for _, tls := range object.(*networkingv1.Ingress).Spec.TLS {
			refs.Secrets = append(refs.Secrets, tls.SecretName)
		}
		return refs
	}}}
	kind := syncer.Define("secrets", Secrets(o))
	virtual, host := newShelf(syncer.Virtual, kind.Indexes()), newShelf(syncer.Host, kind.Indexes())
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "tls", UID: "u"}}
	ingress := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec:       networkingv1.IngressSpec{TLS: []networkingv1.IngressTLS{{SecretName: "tls"}}},
	}
	virtual.putObject(secret)
	virtual.putObject(ingress)
	side := func(s *shelf) syncer.StepSide {
		return syncer.StepSide{Client: s, Objects: func() []client.Object { return s.ofType(secret) }}
	}
	step := syncer.Step{
		Kind: kind, Cluster: testCluster(), Clock: clocktesting.NewFakePassiveClock(testNow()), Virtual: side(virtual), Host: side(host),
	}
	key := types.NamespacedName{Namespace: "shop", Name: "tls"}
	for _, test := range []struct {
		reason string
		change func()
		want   int
	}{
		{"the Ingress refers to it", func() {}, 1},
		{"nothing refers to it any more", func() { virtual.removeObject(ingress) }, 0},
	} {
		test.change()
		if _, err := step.Reconcile(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if got := len(host.ofType(secret)); got != test.want {
			t.Errorf("%s: %d copies, want %d", test.reason, got, test.want)
		}
	}
	var requeued []types.NamespacedName
	for _, watch := range kind.Watches() {
		if reflectType(watch.Object) == reflectType(ingress) {
			keys, err := step.Requeued(t.Context(), watch, ingress)
			if err != nil {
				t.Fatal(err)
			}
			requeued = append(requeued, keys...)
		}
	}
	if len(requeued) != 1 || requeued[0] != key {
		t.Errorf("an event of the Ingress requeues %v", requeued)
	}
}

// lateReader is a cache that shows no object that refers to others.
type lateReader struct{ client.Reader }

// List implements client.Reader.
func (lateReader) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

// TestCopyStaysWhileTheCacheOfItsReferrersIsLate checks that no copy is deleted because a cache
// does not show what refers to its original.
func TestCopyStaysWhileTheCacheOfItsReferrersIsLate(t *testing.T) {
	t.Parallel()
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("u-" + name)}
	}
	pod := &corev1.Pod{ObjectMeta: meta("web"), Spec: corev1.PodSpec{
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "cart"}},
		Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cart"}},
		}}},
	}}
	elsewhere := pod.DeepCopy()
	elsewhere.Namespace = "other"
	for name, test := range map[string]struct {
		kind     syncer.Kind
		original client.Object
	}{
		"ConfigMaps": {syncer.Define("configmaps", ConfigMaps(testOptions())), &corev1.ConfigMap{ObjectMeta: meta("cart")}},
		"Secrets":    {syncer.Define("secrets", Secrets(testOptions())), &corev1.Secret{ObjectMeta: meta("cart")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual, host := newShelf(syncer.Virtual, test.kind.Indexes()), newShelf(syncer.Host, test.kind.Indexes())
			virtual.putObject(test.original)
			virtual.putObject(pod)
			virtual.putObject(elsewhere)
			side := func(s *shelf) syncer.StepSide {
				return syncer.StepSide{Client: s, Objects: func() []client.Object { return s.ofType(test.original) }}
			}
			step := syncer.Step{
				Kind: test.kind, Cluster: testCluster(), Clock: clocktesting.NewFakePassiveClock(testNow()), Virtual: side(virtual), Host: side(host),
			}
			reconcile := func() (again bool) {
				after, err := step.Reconcile(t.Context(), client.ObjectKeyFromObject(test.original))
				if err != nil {
					t.Fatal(err)
				}
				return after > 0
			}
			reconcile()
			step.Virtual.Reader = lateReader{virtual}
			if again := reconcile(); !again || len(host.ofType(test.original)) != 1 {
				t.Errorf("a pod refers to the original: %d copies, looked at again %t", len(host.ofType(test.original)), again)
			}
			virtual.removeObject(pod)
			if reconcile(); len(host.ofType(test.original)) != 0 {
				t.Error("no pod of the namespace refers to the original, but it has a copy")
			}
		})
	}
}
