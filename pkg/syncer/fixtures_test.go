package syncer

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// theKey returns the key of the virtual object that the tests are about.
func theKey() types.NamespacedName { return types.NamespacedName{Namespace: "web", Name: "cart"} }

// virtualMap returns a virtual ConfigMap, changed by edits.
func virtualMap(edits ...func(*corev1.ConfigMap)) *corev1.ConfigMap {
	m := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "cart", UID: "v1"},
		Data:       map[string]string{"k": "v"},
	}
	for _, edit := range edits {
		edit(m)
	}
	return m
}

// hostMap returns the host copy of virtualMap for a virtual UID, changed by edits.
func hostMap(uid types.UID, edits ...func(*corev1.ConfigMap)) *corev1.ConfigMap {
	m := &corev1.ConfigMap{Data: map[string]string{"k": "v"}}
	translate.Stamp(testCluster(), translate.Hashed, theKey(), uid, m)
	m.UID = "h1"
	for _, edit := range edits {
		edit(m)
	}
	return m
}

// virtualPod returns a virtual pod that runs, changed by edits.
func virtualPod(edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "cart", UID: "v1"},
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

// hostPod returns the host copy of virtualPod, changed by edits.
func hostPod(edits ...func(*corev1.Pod)) *corev1.Pod {
	p := virtualPod()
	translate.Stamp(testCluster(), translate.Hashed, theKey(), "v1", p)
	p.UID = "h1"
	p.Labels["app"] = ""
	for _, edit := range edits {
		edit(p)
	}
	return p
}

// withGrace marks a pod as one whose deletion has begun.
func withGrace(grace int64) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		now := metav1.NewTime(testStart())
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &now, &grace
	}
}

// withFinalizer gives a pod a finalizer.
func withFinalizer(p *corev1.Pod) { p.Finalizers = []string{"x/y"} }

// succeeded gives a pod a final phase.
func succeeded(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }

// writesOf returns the requests of a server that are not reads.
func writesOf(s *fakeServer) []string {
	return slices.DeleteFunc(slices.Clone(s.requests), func(r string) bool { return r == "get" })
}
