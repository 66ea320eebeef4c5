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
				file.FieldRef.FieldPath = downwardPath(file.FieldRef.FieldPath)
			}
		})
		if volume.Ephemeral != nil {
			// The virtual cluster makes the claim and its copy is synced.
			volume.VolumeSource = corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{
				ClaimName: EphemeralClaim(virtual.Name, volume.Name),
			}}
		}
	}
}

// tokenVolumes turns service account tokens into items of the pod's token
// Secret. A volume may hold several, each with a path of its own.
func tokenVolumes(c Cluster, virtual *corev1.Pod, spec *corev1.PodSpec) {
	secret := Derived(TokenRole)(c, key(virtual.Namespace, virtual.Name)).Name
	for i := range spec.Volumes {
		projected := spec.Volumes[i].Projected
		if projected == nil {
			continue
		}
		sources := make([]corev1.VolumeProjection, 0, len(projected.Sources))
		for _, source := range projected.Sources {
			if source.ClusterTrustBundle != nil {
				// It is optional, or the pod would have been refused.
				continue
			}
			if token := source.ServiceAccountToken; token != nil {
				source = corev1.VolumeProjection{Secret: &corev1.SecretProjection{
					LocalObjectReference: corev1.LocalObjectReference{Name: secret},
					Items:                []corev1.KeyToPath{{Key: toTokenRequest(token).Key, Path: token.Path, User: token.User}},
				}}
			}
			sources = append(sources, source)
		}
		projected.Sources = sources
	}
}
