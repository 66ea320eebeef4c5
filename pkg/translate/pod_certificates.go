package translate

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// CertificateRole is the role that names the Secret with a pod's certificates, see [Derived].
const CertificateRole = "certificate"

// Suffixes of the keys of a certificate in the pod's Secret.
const (
	// PrivateKeySuffix is for the private key in use.
	PrivateKeySuffix = ".key"
	// ChainSuffix is for the certificate chain of that key.
	ChainSuffix = ".crt"
	// BundleSuffix is for both in one file.
	BundleSuffix = ".pem"
)

// CertificateRequest is a certificate that a pod requests.
type CertificateRequest struct {
	// Key is the prefix of its keys in the pod's Secret. Each source has its own.
	Key string
	// Source is the projected source.
	Source *corev1.PodCertificateProjection
}

// CertificateRequests returns the certificates that a pod's projected volumes request, in the
// order of the volumes.
func CertificateRequests(pod *corev1.Pod) []CertificateRequest {
	var requests []CertificateRequest
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if volume.Projected == nil {
			continue
		}
		for j := range volume.Projected.Sources {
			if source := volume.Projected.Sources[j].PodCertificate; source != nil {
				requests = append(requests, CertificateRequest{certificateKey(volume.Name, j), source})
			}
		}
	}
	return requests
}

// certificateKey returns the prefix of the keys of a source.
func certificateKey(volume string, index int) string {
	return "certificate-" + hash(volume, strconv.Itoa(index))[:labelHash]
}

// certificateSource returns the projected source for a certificate in the host pod: keys of the
// pod's Secret. The kubelet does not start the pod until they exist, which is when the
// certificate is issued.
func certificateSource(c Cluster, virtual *corev1.Pod, projected *corev1.ProjectedVolumeSource, key string, source *corev1.PodCertificateProjection) corev1.VolumeProjection {
	mode := tokenMode(virtual, firstUser(source.User, projected.DefaultUser))
	var items []corev1.KeyToPath
	for _, file := range []struct{ suffix, path string }{
		{BundleSuffix, source.CredentialBundlePath}, {PrivateKeySuffix, source.KeyPath}, {ChainSuffix, source.CertificateChainPath},
	} {
		if file.path != "" {
			items = append(items, corev1.KeyToPath{Key: key + file.suffix, Path: file.path, User: source.User, Mode: mode})
		}
	}
	return corev1.VolumeProjection{Secret: &corev1.SecretProjection{
		LocalObjectReference: corev1.LocalObjectReference{Name: podFile(c, virtual, CertificateRole)},
		Items:                items,
	}}
}

// podFile returns the name of the host Secret or ConfigMap of a role that has files of a pod.
func podFile(c Cluster, virtual *corev1.Pod, role string) string {
	return Derived(role)(c, keyOf(virtual.Namespace, virtual.Name)).Name
}
