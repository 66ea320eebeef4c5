package translate

import (
	corev1 "k8s.io/api/core/v1"
)

// Modes of the file of a token on a host that does not know who reads it.
const (
	// ownerOnly is the mode that a kubelet gives the file. With an fsGroup it adds the
	// permissions of the group.
	ownerOnly = 0o600
	// everyReader lets every user of the pod read the file.
	everyReader = 0o644
)

// tokenVolumes turns service account tokens into items of the pod's token Secret. Trust bundles
// become items of its ConfigMap, and certificates items of another Secret. A volume may hold
// several, each with a path of its own.
func tokenVolumes(c Cluster, virtual *corev1.Pod, spec *corev1.PodSpec) {
	secret := podFile(c, virtual, TokenRole)
	for i := range spec.Volumes {
		projected := spec.Volumes[i].Projected
		if projected == nil {
			continue
		}
		sources := make([]corev1.VolumeProjection, 0, len(projected.Sources))
		for j, source := range projected.Sources {
			if bundle := source.ClusterTrustBundle; bundle != nil {
				source = trustSource(c, virtual, projected, bundle)
			}
			if certificate := source.PodCertificate; certificate != nil {
				source = certificateSource(c, virtual, projected, certificateKey(spec.Volumes[i].Name, j), certificate)
			}
			if token := source.ServiceAccountToken; token != nil {
				item := corev1.KeyToPath{
					Key: toTokenRequest(token).Key, Path: token.Path, User: token.User,
					Mode: tokenMode(virtual, firstUser(token.User, projected.DefaultUser)),
				}
				source = corev1.VolumeProjection{Secret: &corev1.SecretProjection{
					LocalObjectReference: corev1.LocalObjectReference{Name: secret},
					Items:                []corev1.KeyToPath{item},
				}}
			}
			sources = append(sources, source)
		}
		projected.Sources = sources
	}
}

// tokenMode returns the mode of the file of a token, nil for that of the volume. A kubelet
// ignores the mode of the volume where it knows the reader. It gives the file to the one
// user of the containers, and to the fsGroup. The item of a Secret stays root's. So the file
// of another user is readable by all users of its pod, of whom there is one.
func tokenMode(virtual *corev1.Pod, asked *int64) *int32 {
	user := firstUser(asked, onlyUser(&virtual.Spec))
	group := virtual.Spec.SecurityContext != nil && virtual.Spec.SecurityContext.FSGroup != nil
	switch {
	case group, user != nil && *user == 0:
		return new(int32(ownerOnly))
	case user != nil:
		return new(int32(everyReader))
	default:
		return nil
	}
}

// firstUser returns the first user that is set, nil for none.
func firstUser(users ...*int64) *int64 {
	for _, user := range users {
		if user != nil {
			return user
		}
	}
	return nil
}

// onlyUser returns the user that every container of a pod must run as. It returns nil if
// there are several, or if one is left to its image.
func onlyUser(spec *corev1.PodSpec) *int64 {
	var user *int64
	same := true
	eachContainer(spec, func(container *corev1.Container) {
		var own *int64
		if spec.SecurityContext != nil {
			own = spec.SecurityContext.RunAsUser
		}
		if context := container.SecurityContext; context != nil && context.RunAsUser != nil {
			own = context.RunAsUser
		}
		same = same && own != nil && (user == nil || *user == *own)
		user = own
	})
	if !same {
		return nil
	}
	return user
}
