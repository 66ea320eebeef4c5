package translate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestResourceClaimsOnHost checks which claims a host pod names. It never names a template: the
// host would make a claim from a template of the operator's.
func TestResourceClaimsOnHost(t *testing.T) {
	t.Parallel()
	hashed := func(name string) *string { return new(Hashed(shop, keyOf("default", name)).Name) }
	template := func(name string) corev1.PodResourceClaim {
		return corev1.PodResourceClaim{Name: name, ResourceClaimTemplateName: new("of-" + name)}
	}
	tests := map[string]struct {
		reason   string
		claims   []corev1.PodResourceClaim
		statuses []corev1.PodResourceClaimStatus
		want     []corev1.PodResourceClaim
		uses     []string // claims of the container
		err      string
	}{
		"Named": {
			reason: "a claim of the tenant's own",
			claims: []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: new("mine")}},
			want:   []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: hashed("mine")}},
			uses:   []string{"gpu"},
		},
		"Template": {
			reason:   "the virtual cluster has made the claim",
			claims:   []corev1.PodResourceClaim{template("gpu")},
			statuses: []corev1.PodResourceClaimStatus{{Name: "gpu", ResourceClaimName: new("web-0-gpu-x")}},
			want:     []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: hashed("web-0-gpu-x")}},
			uses:     []string{"gpu"},
		},
		"Unneeded": {
			reason:   "the controller says that the entry needs no claim",
			claims:   []corev1.PodResourceClaim{template("gpu"), {Name: "net", ResourceClaimName: new("mine")}},
			statuses: []corev1.PodResourceClaimStatus{{Name: "gpu"}},
			want:     []corev1.PodResourceClaim{{Name: "net", ResourceClaimName: hashed("mine")}},
			uses:     []string{"net"},
		},
		"NotMade": {
			reason: "there is no name to put into the host pod",
			claims: []corev1.PodResourceClaim{template("gpu")},
			err:    "the ResourceClaim gpu is not made yet",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual := webPod(func(pod *corev1.Pod) {
				pod.Spec.ResourceClaims, pod.Status.ResourceClaimStatuses = tt.claims, tt.statuses
				for _, claim := range tt.claims {
					pod.Spec.Containers[0].Resources.Claims = append(pod.Spec.Containers[0].Resources.Claims, corev1.ResourceClaim{Name: claim.Name})
				}
			})
			before := virtual.DeepCopy()
			in := input()
			in.ResourceClaims = true
			host := stamped(virtual)
			err := Pod(in, virtual, host)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("%s: got error %v, want %q", tt.reason, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, host.Spec.ResourceClaims); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
			}
			var uses []string
			for _, claim := range host.Spec.Containers[0].Resources.Claims {
				uses = append(uses, claim.Name)
			}
			if diff := cmp.Diff(tt.uses, uses); diff != "" {
				t.Errorf("%s: claims of the container (-want +got):\n%s", tt.reason, diff)
			}
			if diff := cmp.Diff(before, virtual); diff != "" {
				t.Errorf("the virtual pod has changed:\n%s", diff)
			}
		})
	}
}

func TestIsPodDone(t *testing.T) {
	t.Parallel()
	now := metav1.Now()
	tests := map[string]struct {
		pod  corev1.Pod
		want bool
	}{
		"Running":           {corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning}}, false},
		"Succeeded":         {corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodSucceeded}}, true},
		"Failed":            {corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed}}, true},
		"Terminating":       {corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now}, Spec: corev1.PodSpec{NodeName: "node-1"}}, false},
		"DeletedBeforeBind": {corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now}}, true},
	}
	for name, tt := range tests {
		if got := IsPodDone(&tt.pod); got != tt.want {
			t.Errorf("%s: got %t, want %t", name, got, tt.want)
		}
	}
}

// TestGraceOfDevices checks that a host pod that may have devices is never gone at once. The
// host would give them to another tenant before the kubelet has taken them back.
func TestGraceOfDevices(t *testing.T) {
	t.Parallel()
	limited := func(name corev1.ResourceName) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{name: resource.MustParse("1")}
		}
	}
	claim := func(pod *corev1.Pod) {
		pod.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: new("mine")}}
	}
	grace := func(seconds int64) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Spec.TerminationGracePeriodSeconds = &seconds }
	}
	tests := map[string]struct {
		reason      string
		pod         []func(*corev1.Pod)
		least, spec int64
	}{
		"Plain":     {reason: "nothing is taken back"},
		"Memory":    {reason: "nor of memory", pod: []func(*corev1.Pod){limited(corev1.ResourceMemory)}},
		"Claim":     {reason: "a claim has devices", pod: []func(*corev1.Pod){claim}, least: 1, spec: 1},
		"Resource":  {reason: "the host may make a claim for it", pod: []func(*corev1.Pod){limited("example.com/gpu")}, least: 1, spec: 1},
		"OwnPeriod": {reason: "a longer period stays", pod: []func(*corev1.Pod){grace(30), claim}, least: 1, spec: 30},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := input()
			in.ResourceClaims = true
			host := created(t, in, webPod(append([]func(*corev1.Pod){grace(0)}, tt.pod...)...))
			if got := LeastGrace(host); got != tt.least {
				t.Errorf("%s: deleted within %d s, want %d", tt.reason, got, tt.least)
			}
			if got := *host.Spec.TerminationGracePeriodSeconds; got != tt.spec {
				t.Errorf("%s: the host pod has %d s, want %d", tt.reason, got, tt.spec)
			}
		})
	}
}
