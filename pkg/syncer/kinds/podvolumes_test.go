package kinds

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// TestLateCacheOfClaims creates a pod for a claim that was deleted and created again. The cache still shows the earlier one,
// and the host still has its copy. The pod must not get that volume.
func TestLateCacheOfClaims(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		live types.UID
		want int // host pods
	}{"Same": {"earlier", 1}, "Again": {"later", 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind := syncer.Define("pods", Pods(testOptions()))
			cache, live, host := newShelf(syncer.Virtual, kind.Indexes()), newShelf(syncer.Virtual, kind.Indexes()), newShelf(syncer.Host, kind.Indexes())
			key := types.NamespacedName{Namespace: "shop", Name: "data"}
			claim := func(uid types.UID) *corev1.PersistentVolumeClaim {
				return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: uid}}
			}
			copied := claim("")
			translate.Stamp(testCluster(), translate.Hashed, key, "earlier", copied)
			host.putObject(copied)
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "user", UID: "u"},
				Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
					PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}},
			}
			for _, side := range []*shelf{cache, live} {
				side.putObject(pod.DeepCopy())
			}
			cache.putObject(claim("earlier"))
			live.putObject(claim(tt.live))
			step := syncer.Step{
				Kind: kind, Cluster: testCluster(), Clock: clocktesting.NewFakePassiveClock(testNow()),
				Virtual: syncer.StepSide{Client: live, Reader: cache, Objects: func() []client.Object { return cache.ofType(pod) }},
				Host:    syncer.StepSide{Client: host, Objects: func() []client.Object { return host.ofType(pod) }},
			}
			_, err := step.Reconcile(t.Context(), client.ObjectKeyFromObject(pod))
			if made := host.ofType(pod); len(made) != tt.want {
				t.Errorf("the host has %d pods, want %d: %v", len(made), tt.want, err)
			}
		})
	}
}
