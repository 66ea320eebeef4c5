package kinds

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// withKinds returns test options with further kinds on.
func withKinds(settings ...string) Options {
	options := testOptions()
	options.Sync.Kinds = maps.Clone(options.Sync.Kinds)
	for _, setting := range settings {
		options.Sync.Kinds[setting] = v1alpha1.KindSettings{Enabled: true}
	}
	return options
}

// TestEvictedPodEnds takes the host pod of a pod away, and the copy of what that needed. A pod that has
// run ends. Any other one waits for the copy.
func TestEvictedPodEnds(t *testing.T) {
	t.Parallel()
	started := func(pod *corev1.Pod) {
		pod.Status.Phase, pod.Status.StartTime = corev1.PodRunning, &metav1.Time{Time: testNow()}
	}
	onNode := func(pod *corev1.Pod) { pod.Spec.NodeName = "node-1" }
	removed := func(pod *corev1.Pod) { pod.Annotations = map[string]string{labels.Removed: string(pod.UID)} }
	account := func(pod *corev1.Pod) { pod.Spec.ServiceAccountName = "builder" }
	claim := func(pod *corev1.Pod) {
		pod.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: new("gpu")}}
	}
	template := func(pod *corev1.Pod) {
		pod.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimTemplateName: new("gpus")}}
	}
	for name, tt := range map[string]struct {
		reason string
		pod    []func(*corev1.Pod)
		ends   bool
	}{
		"Plain":           {reason: "it needs nothing else", pod: []func(*corev1.Pod){started, onNode}, ends: true},
		"Account":         {reason: "the copy of its account is gone, too", pod: []func(*corev1.Pod){started, onNode, account}, ends: true},
		"Claim":           {reason: "the copy of its claim is gone, too", pod: []func(*corev1.Pod){started, onNode, claim}, ends: true},
		"Template":        {reason: "its claim is gone on both sides", pod: []func(*corev1.Pod){started, onNode, template}, ends: true},
		"NeverShown":      {reason: "its node was never shown", pod: []func(*corev1.Pod){started, account}, ends: true},
		"NewWithAccount":  {reason: "the copy of its account is not there yet", pod: []func(*corev1.Pod){account}},
		"NewWithClaim":    {reason: "the copy of its claim is not there yet", pod: []func(*corev1.Pod){claim}},
		"Asleep":          {reason: "Sublet has removed its host pod", pod: []func(*corev1.Pod){started, onNode, removed, account}},
		"AsleepUnbound":   {reason: "its node was never shown", pod: []func(*corev1.Pod){started, removed, account}},
		"AsleepWithClaim": {reason: "the copy of its claim is not there yet", pod: []func(*corev1.Pod){started, removed, claim}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind := syncer.Define("pods", Pods(withKinds(serviceAccountsSetting, policy.ResourceClaimsSetting)))
			virtual, host := newShelf(syncer.Virtual, kind.Indexes()), newShelf(syncer.Host, kind.Indexes())
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u"}}
			for _, change := range tt.pod {
				change(pod)
			}
			virtual.putObject(pod)
			reconcilePod(t, kind, pod, virtual, host)
			ended, _ := virtual.deleted.(*corev1.Pod)
			if hasEnded := ended != nil && ended.Status.Phase == corev1.PodFailed; hasEnded != tt.ends {
				t.Errorf("%s: ended %t, want %t; the pod: %v", tt.reason, hasEnded, tt.ends, virtual.objects)
			}
			if copies := host.ofType(pod); len(copies) != 0 {
				t.Errorf("%s: the host has a new pod", tt.reason)
			}
		})
	}
}
