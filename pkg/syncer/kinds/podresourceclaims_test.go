package kinds

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// claimWithUID returns a ResourceClaim of the tenant, nil without a UID. One whose UID is "leaving" is terminating.
func claimWithUID(uid types.UID) *resourcev1.ResourceClaim {
	if uid == "" {
		return nil
	}
	claim := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "gpu", UID: uid}}
	if uid == "leaving" {
		claim.DeletionTimestamp = &metav1.Time{Time: testNow()}
	}
	return claim
}

// TestResourceClaimOfPod creates a pod for a ResourceClaim that the host may have the copy of. The pod must
// not get the devices of another claim.
func TestResourceClaimOfPod(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		reason       string
		cached, live types.UID // of the tenant's claim, empty for none
		copied       types.UID // of the claim whose copy the host has
		want         int       // host pods
		retries      bool      // without an event
	}{
		"Same":       {reason: "it is the copy of this claim", cached: "now", live: "now", copied: "now", want: 1},
		"NoCopy":     {reason: "the event of the copy ends the wait", cached: "now", live: "now"},
		"Again":      {reason: "the host has yet to delete the copy of the earlier claim", cached: "now", live: "now", copied: "earlier", retries: true},
		"LateCache":  {reason: "the cache still shows the earlier claim", cached: "earlier", live: "now", copied: "earlier"},
		"Gone":       {reason: "the copy is about to be deleted", copied: "earlier", retries: true},
		"GoneLive":   {reason: "the cache still shows the claim", cached: "now", copied: "now"},
		"Leaving":    {reason: "a claim that is deleted takes no further pods", cached: "leaving", live: "leaving", copied: "leaving", retries: true},
		"LateCopied": {reason: "the cache has yet to show the claim of the copy", cached: "earlier", live: "now", copied: "now", retries: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind := syncer.Define("pods", Pods(withKinds(policy.ResourceClaimsSetting)))
			cache, live, host := newShelf(syncer.Virtual, kind.Indexes()), newShelf(syncer.Virtual, kind.Indexes()), newShelf(syncer.Host, kind.Indexes())
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "user", UID: "u"},
				Spec:       corev1.PodSpec{ResourceClaims: []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: new("gpu")}}},
			}
			for side, uid := range map[*shelf]types.UID{cache: tt.cached, live: tt.live} {
				side.putObject(pod)
				if claim := claimWithUID(uid); claim != nil {
					side.putObject(claim)
				}
			}
			if tt.copied != "" {
				copied := &resourcev1.ResourceClaim{}
				translate.Stamp(testCluster(), translate.Hashed, types.NamespacedName{Namespace: "shop", Name: "gpu"}, tt.copied, copied)
				host.putObject(copied)
			}
			step := syncer.Step{
				Kind: kind, Cluster: testCluster(), Clock: clocktesting.NewFakePassiveClock(testNow()),
				Virtual: syncer.StepSide{Client: live, Reader: cache, Objects: func() []client.Object { return cache.ofType(pod) }},
				Host:    syncer.StepSide{Client: host, Objects: func() []client.Object { return host.ofType(pod) }},
			}
			after, err := step.Reconcile(t.Context(), client.ObjectKeyFromObject(pod))
			if made := host.ofType(pod); len(made) != tt.want {
				t.Errorf("%s: the host has %d pods, want %d: %v", tt.reason, len(made), tt.want, err)
			}
			if (after > 0) != tt.retries {
				t.Errorf("%s: it is tried again after %s, want that: %t", tt.reason, after, tt.retries)
			}
		})
	}
}
