package kinds

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

const (
	// volumeClaimsSetting is the path of the settings of the tenant's claims.
	volumeClaimsSetting = "sync.toHost.persistentVolumeClaims"
	// claimPatience is how long a new pod waits for its claims. After that its host pod is
	// created, unless it would get the volume of another claim.
	claimPatience = 10 * time.Second
)

// awaitsVolumeClaims reports whether a pod waits for the copies of its claims. Pods and claims are often
// created together, and their copies in any order. Without its claims the host pod would be
// unschedulable, or get the volume of an earlier claim of the same name.
func (p *pods) awaitsVolumeClaims(s syncer.Scope, virtual *corev1.Pod) (bool, error) {
	claims, err := p.newClaims(s, virtual)
	for _, claim := range claims {
		if wait := claim.awaitedSince.Add(claimPatience).Sub(s.Now); wait > 0 {
			s.RequeueAfter(wait)
			return true, err
		}
	}
	return false, err
}

// checkVolumes returns an error for a pod that would get the volume of another claim. It is called right before the pod is
// created on the host. So it goes by the API server: the cache may still show a claim that was deleted and created again.
func (p *pods) checkVolumes(s syncer.Scope, virtual *corev1.Pod) error {
	s.Virtual = s.LiveVirtual
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
	problem := ""
	switch {
	case exists:
		problem = claimProblem(virtual, volume, &claim, copied.Annotations[labels.VirtualUID])
	case hasCopy && copied.Annotations[labels.VirtualUID] != "":
		problem = fmt.Sprintf(claimDeleted, name)
	}
	switch {
	case problem != "":
		return podClaim{awaitedSince: virtual.CreationTimestamp.Time, problem: problem}, nil
	case exists && !hasCopy:
		return podClaim{awaitedSince: claim.CreationTimestamp.Time}, nil
	default:
		return podClaim{}, nil
	}
}

const (
	// claimDeleted is the problem of a claim that is gone, or will soon be.
	claimDeleted = "the claim %s is being deleted; the pod starts with the next one of this name"
	// claimReplaced is the problem of a claim whose host copy is that of an earlier claim.
	claimReplaced = "the host is still deleting an earlier claim %s; the pod starts after that"
)

// claimProblem returns why a pod must not use the volume of a claim that exists. copiedUID is the UID
// of the claim whose copy the host has, empty for none. A kubelet rejects the same claims.
func claimProblem(virtual *corev1.Pod, volume *corev1.Volume, claim *corev1.PersistentVolumeClaim, copiedUID string) string {
	switch {
	case claim.DeletionTimestamp != nil:
		return fmt.Sprintf(claimDeleted, claim.Name)
	case volume.Ephemeral != nil && !metav1.IsControlledBy(claim, virtual):
		return "the claim " + claim.Name + " was not made for this pod; the pod starts when it is deleted"
	case copiedUID != "" && copiedUID != string(claim.UID):
		return fmt.Sprintf(claimReplaced, claim.Name)
	default:
		return ""
	}
}
