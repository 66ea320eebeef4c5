package translate

import (
	corev1 "k8s.io/api/core/v1"
)

// File modes of tokens in the host pod.
const (
	// ownerOnly is the default mode of a token file. With an fsGroup, the kubelet adds the
	// permissions of the group.
	ownerOnly = 0o600
	// everyReader lets every user of the pod read the file.
	everyReader = 0o644
)

// rewriteProjectedSources replaces projected sources that the host's kubelet would resolve on the
// host. Service account tokens and certificates become keys of the pod's Secrets, and trust
// bundles keys of its ConfigMap.
func rewriteProjectedSources(c Cluster, virtual *corev1.Pod, spec *corev1.PodSpec) {
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

// tokenMode returns the mode of the file of a token, nil for that of the volume. For a real token, a
// kubelet makes the fsGroup or the only user of the containers the owner. The file of a Secret
// always belongs to root. If the only user is another one, the file is thus readable by all
// users.
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

// firstUser returns the first user that is not nil.
func firstUser(users ...*int64) *int64 {
	for _, user := range users {
		if user != nil {
			return user
		}
	}
	return nil
}

// onlyUser returns the user that all containers of a pod run as. It returns nil if there are
// several, or if an image decides.
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
