package translate

import (
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// referenceKind is a kind of object that a pod refers to by name in its own namespace.
type referenceKind int

const (
	configMapReference referenceKind = iota
	secretReference
	claimReference
	resourceClaimReference
)

// reference is a field of a pod that refers to an object.
type reference struct {
	kind referenceKind
	name *string
}

// References returns the names of the ConfigMaps, Secrets and claims that a pod needs in
// its own namespace, sorted, each once. They include the claims of ephemeral volumes,
// which the virtual cluster creates under names of its own.
func References(pod *corev1.Pod) (configMaps, secrets, claims []string) {
	names := map[referenceKind]map[string]bool{configMapReference: {}, secretReference: {}, claimReference: {}, resourceClaimReference: {}}
	eachReference(&pod.Spec, func(r reference) {
		if *r.name != "" {
			names[r.kind][*r.name] = true
		}
	})
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Ephemeral != nil {
			names[claimReference][EphemeralClaim(pod.Name, pod.Spec.Volumes[i].Name)] = true
		}
	}
	sorted := func(kind referenceKind) []string { return slices.Sorted(maps.Keys(names[kind])) }
	return sorted(configMapReference), sorted(secretReference), sorted(claimReference)
}

// EphemeralClaim returns the name of the claim that Kubernetes creates for an ephemeral
// volume of a pod.
func EphemeralClaim(pod, volume string) string {
	return pod + "-" + volume
}

// renameReferences replaces the name in every reference of a spec by the name of the host copy.
func renameReferences(c Cluster, namespace string, spec *corev1.PodSpec) {
	eachReference(spec, func(r reference) {
		if *r.name != "" {
			*r.name = Hashed(c, keyOf(namespace, *r.name)).Name
		}
	})
}

// eachReference visits all references of a pod to objects in its namespace.
func eachReference(spec *corev1.PodSpec, visit func(reference)) {
	for i := range spec.ImagePullSecrets {
		visit(reference{kind: secretReference, name: &spec.ImagePullSecrets[i].Name})
	}
	for i := range spec.ResourceClaims {
		if name := spec.ResourceClaims[i].ResourceClaimName; name != nil {
			visit(reference{kind: resourceClaimReference, name: name})
		}
	}
	eachContainer(spec, func(container *corev1.Container) {
		for i := range container.EnvFrom {
			if ref := container.EnvFrom[i].ConfigMapRef; ref != nil {
				visit(reference{configMapReference, &ref.Name})
			}
			if ref := container.EnvFrom[i].SecretRef; ref != nil {
				visit(reference{secretReference, &ref.Name})
			}
		}
		for i := range container.Env {
			if from := container.Env[i].ValueFrom; from != nil {
				eachEnvReference(from, visit)
			}
		}
	})
	for i := range spec.Volumes {
		eachVolumeReference(&spec.Volumes[i], visit)
	}
}

// eachEnvReference visits the references of one environment variable.
func eachEnvReference(from *corev1.EnvVarSource, visit func(reference)) {
	if ref := from.ConfigMapKeyRef; ref != nil {
		visit(reference{configMapReference, &ref.Name})
	}
	if ref := from.SecretKeyRef; ref != nil {
		visit(reference{secretReference, &ref.Name})
	}
}

// eachVolumeReference visits the references of one volume.
func eachVolumeReference(volume *corev1.Volume, visit func(reference)) {
	switch {
	case volume.ConfigMap != nil:
		visit(reference{configMapReference, &volume.ConfigMap.Name})
	case volume.Secret != nil:
		visit(reference{secretReference, &volume.Secret.SecretName})
	case volume.PersistentVolumeClaim != nil:
		visit(reference{kind: claimReference, name: &volume.PersistentVolumeClaim.ClaimName})
	case volume.Projected != nil:
		for i := range volume.Projected.Sources {
			if ref := volume.Projected.Sources[i].ConfigMap; ref != nil {
				visit(reference{configMapReference, &ref.Name})
			}
			if ref := volume.Projected.Sources[i].Secret; ref != nil {
				visit(reference{secretReference, &ref.Name})
			}
		}
	case volume.AzureFile != nil:
		visit(reference{kind: secretReference, name: &volume.AzureFile.SecretName})
	default:
		if ref := findDriverSecret(volume); ref != nil {
			visit(reference{kind: secretReference, name: &ref.Name})
		}
	}
}

// findDriverSecret returns the reference to the Secret with the credentials of a storage driver,
// nil if there is none.
func findDriverSecret(volume *corev1.Volume) *corev1.LocalObjectReference {
	switch {
	case volume.CSI != nil:
		return volume.CSI.NodePublishSecretRef
	case volume.CephFS != nil:
		return volume.CephFS.SecretRef
	case volume.Cinder != nil:
		return volume.Cinder.SecretRef
	case volume.FlexVolume != nil:
		return volume.FlexVolume.SecretRef
	case volume.ISCSI != nil:
		return volume.ISCSI.SecretRef
	case volume.RBD != nil:
		return volume.RBD.SecretRef
	case volume.ScaleIO != nil:
		return volume.ScaleIO.SecretRef
	case volume.StorageOS != nil:
		return volume.StorageOS.SecretRef
	}
	return nil
}

// TokenRequest is a service account token that a pod requests.
type TokenRequest struct {
	// Key is the key of the token in the pod's token Secret. Equal requests share it.
	Key string
	// Audience is the audience of the token. Empty means the API server.
	Audience string
	// ExpirationSeconds is the requested lifetime of the token.
	ExpirationSeconds int64
}

// defaultExpiration is the default lifetime of a token, in seconds.
const defaultExpiration = 3600

// TokenRequests returns the tokens that a pod's projected volumes request, sorted by key,
// each once.
func TokenRequests(pod *corev1.Pod) []TokenRequest {
	return projectedRequests(pod, func(source *corev1.VolumeProjection) (string, TokenRequest) {
		if source.ServiceAccountToken == nil {
			return "", TokenRequest{}
		}
		request := toTokenRequest(source.ServiceAccountToken)
		return request.Key, request
	})
}

// projectedRequests returns the requests of the sources of a pod's projected volumes, sorted by key,
// each once. read returns the key and the request of a source. It returns an empty key for other
// kinds of sources.
func projectedRequests[R any](pod *corev1.Pod, read func(*corev1.VolumeProjection) (key string, request R)) []R {
	requests := map[string]R{}
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Projected == nil {
			continue
		}
		for j := range pod.Spec.Volumes[i].Projected.Sources {
			if key, request := read(&pod.Spec.Volumes[i].Projected.Sources[j]); key != "" {
				requests[key] = request
			}
		}
	}
	sorted := make([]R, 0, len(requests))
	for _, key := range slices.Sorted(maps.Keys(requests)) {
		sorted = append(sorted, requests[key])
	}
	return sorted
}

// toTokenRequest returns the request of one projected source.
func toTokenRequest(source *corev1.ServiceAccountTokenProjection) TokenRequest {
	request := TokenRequest{Audience: source.Audience, ExpirationSeconds: defaultExpiration}
	if source.ExpirationSeconds != nil {
		request.ExpirationSeconds = *source.ExpirationSeconds
	}
	request.Key = "token-" + hash(request.Audience, strconv.FormatInt(request.ExpirationSeconds, 10))[:labelHash]
	return request
}
