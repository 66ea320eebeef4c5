package kinds

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

const (
	// volumeClaimsSetting is the path of the settings of the tenant's claims.
	volumeClaimsSetting = "sync.toHost.persistentVolumeClaims"
	// byVolumeClaim is the field of the index of virtual pods by their claims.
	byVolumeClaim = "volumeClaims"
	// claimPatience is how long a new pod waits for its claims. After that its host pod is
	// created, unless it would get the volume of another claim.
	claimPatience = 10 * time.Second
)

// podsByVolumeClaim returns the index of virtual pods by their claims.
func podsByVolumeClaim() syncer.Index {
	return syncer.Index{Side: syncer.Virtual, Object: &corev1.Pod{}, Field: byVolumeClaim, Values: func(o client.Object) []string {
		pod, ok := o.(*corev1.Pod)
		if !ok {
			return nil
		}
		var names []string
		for i := range pod.Spec.Volumes {
			if name := claimOfPod(pod, &pod.Spec.Volumes[i]); name != "" {
				names = append(names, name)
			}
		}
		return names
	}}
}

// claimOfPod returns the name of the claim of a volume, empty for none.
func claimOfPod(pod *corev1.Pod, volume *corev1.Volume) string {
	switch {
	case volume.PersistentVolumeClaim != nil:
		return volume.PersistentVolumeClaim.ClaimName
	case volume.Ephemeral != nil:
		return translate.EphemeralClaim(pod.Name, volume.Name)
	default:
		return ""
	}
}

// podsOfVolumeClaim returns the virtual pods that use the original of a host claim.
func podsOfVolumeClaim(s syncer.Scope, claim client.Object) ([]types.NamespacedName, error) {
	origin, ours := provenOrigin(s, claim)
	if !ours {
		return nil, nil
	}
	return podsByIndex(s, origin, byVolumeClaim)
}

// awaitsVolumes reports whether a pod waits for the copies of its claims. Pods and claims are often
// created together, and their copies in any order. Without its claims the host pod would be
// unschedulable, or get the volume of an earlier claim of the same name.
func (p *pods) awaitsVolumes(s syncer.Scope, virtual *corev1.Pod) (bool, error) {
	claims, err := p.newClaims(s, virtual)
	for _, claim := range claims {
		if wait := claim.awaitedSince.Add(claimPatience).Sub(s.Now); wait > 0 {
			s.RequeueAfter(wait)
			return true, err
		}
	}
	return false, err
}

// checkVolumes returns an error for a pod that would get the volume of another claim.
func (p *pods) checkVolumes(s syncer.Scope, virtual *corev1.Pod) error {
	claims, err := p.newClaims(s, virtual)
	for _, claim := range claims {
		if claim.problem != "" {
			return &translate.UnsupportedError{Problems: []error{fmt.Errorf("spec.volumes: %s", claim.problem)}}
		}
	}
	return err
}

// newClaims returns the claims of a pod that has never run. It returns none for other pods.
func (p *pods) newClaims(s syncer.Scope, virtual *corev1.Pod) ([]podClaim, error) {
	if !p.options.Sync.IsEnabled(volumeClaimsSetting) || progress(s).State == translate.PodAsleep || p.started(s, virtual, nil) {
		return nil, nil
	}
	var claims []podClaim
	for i := range virtual.Spec.Volumes {
		if claimOfPod(virtual, &virtual.Spec.Volumes[i]) == "" {
			continue
		}
		claim, err := readClaim(s, virtual, &virtual.Spec.Volumes[i])
		if err != nil {
			return nil, err
		}
		claims = append(claims, claim)
	}
	return claims, nil
}

// podClaim is the state of a claim of a pod.
type podClaim struct {
	// awaitedSince is the time since which the pod waits for the claim, zero if it does not.
	awaitedSince time.Time
	// problem is why the pod must not use the volume of the claim, empty if it may.
	problem string
}

// readClaim returns the claim of a volume.
func readClaim(s syncer.Scope, virtual *corev1.Pod, volume *corev1.Volume) (podClaim, error) {
	var claim, copied corev1.PersistentVolumeClaim
	name := claimOfPod(virtual, volume)
	exists, err := lookUp(s, syncer.Virtual, types.NamespacedName{Namespace: virtual.Namespace, Name: name}, &claim)
	if err != nil {
		return podClaim{}, err
	}
	key := types.NamespacedName{Namespace: s.Cluster.Namespace, Name: hostName(s, virtual.Namespace, name)}
	hasCopy, err := lookUp(s, syncer.Host, key, &copied)
	if err != nil {
		return podClaim{}, err
	}
	isOthers := volume.Ephemeral != nil && !metav1.IsControlledBy(&claim, virtual)
	switch problem := claimProblem(&claim, copied.Annotations[labels.VirtualUID], exists, isOthers); {
	case problem != "":
		return podClaim{awaitedSince: virtual.CreationTimestamp.Time, problem: fmt.Sprintf(problem, name)}, nil
	case exists && !hasCopy:
		return podClaim{awaitedSince: claim.CreationTimestamp.Time}, nil
	default:
		return podClaim{}, nil
	}
}

// claimProblem returns why a pod must not use the volume of a claim, as a format for the name of the
// claim. exists reports whether there is a virtual claim, and isOthers whether that was created for
// another pod's ephemeral volume. copied is the UID of the claim whose copy the host has, empty for
// none. A kubelet rejects the same claims.
func claimProblem(claim *corev1.PersistentVolumeClaim, copied string, exists, isOthers bool) string {
	switch {
	case exists && claim.DeletionTimestamp != nil, !exists && copied != "":
		return "the claim %s is being deleted; the pod starts with the next one of this name"
	case exists && isOthers:
		return "the claim %s was not made for this pod; the pod starts when it is deleted"
	case copied != "" && copied != string(claim.UID):
		return "the host is still deleting an earlier claim %s; the pod starts after that"
	default:
		return ""
	}
}
