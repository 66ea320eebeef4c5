package translate

import (
	corev1 "k8s.io/api/core/v1"
)

// rewriteVolumes replaces sources that a kubelet would resolve on the host: downward API
// fields and ephemeral claims. renameReferences renames what they refer to.
func rewriteVolumes(virtual *corev1.Pod, spec *corev1.PodSpec) {
	for i := range spec.Volumes {
		volume := &spec.Volumes[i]
		eachDownwardFile(volume, func(file *corev1.DownwardAPIVolumeFile) {
			if file.FieldRef != nil {
				file.FieldRef.FieldPath = toHostFieldPath(file.FieldRef.FieldPath)
			}
		})
		if volume.Ephemeral != nil {
			// The virtual cluster creates the claim, and its copy is synced.
			volume.VolumeSource = corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{
				ClaimName: EphemeralClaim(virtual.Name, volume.Name),
			}}
		}
	}
}
