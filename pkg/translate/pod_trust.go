package translate

import (
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
)

// TrustRole is the role that names the ConfigMap with a pod's trust bundles, see [Derived].
const TrustRole = "trust"

// TrustRequest is a selection of trust bundles that a pod requests.
type TrustRequest struct {
	// Key is the key of the certificates in the pod's ConfigMap. Equal requests share it.
	Key string
	// Name is the name of a single bundle, empty for the bundles of a signer.
	Name string
	// SignerName is the signer of the bundles, with Selector on their labels.
	SignerName string
	// Selector selects nothing if it is nil, as in a kubelet.
	Selector *metav1.LabelSelector
	// Optional specifies that the file is empty if there is no bundle.
	Optional bool
}

// TrustRequests returns the trust bundles that a pod's projected volumes request, sorted by
// key, each once.
func TrustRequests(pod *corev1.Pod) []TrustRequest {
	return projectedRequests(pod, func(source *corev1.VolumeProjection) (string, TrustRequest) {
		if source.ClusterTrustBundle == nil {
			return "", TrustRequest{}
		}
		request := toTrustRequest(source.ClusterTrustBundle)
		return request.Key, request
	})
}

// toTrustRequest returns the request of one projected source.
func toTrustRequest(source *corev1.ClusterTrustBundleProjection) TrustRequest {
	request := TrustRequest{Optional: source.Optional != nil && *source.Optional}
	if source.Name != nil {
		request.Name = *source.Name
	} else if source.SignerName != nil {
		request.SignerName, request.Selector = *source.SignerName, source.LabelSelector
	}
	// The text of a nil selector differs from that of an empty one.
	request.Key = "bundle-" + hash(request.Name, request.SignerName, request.Selector.String(), strconv.FormatBool(request.Optional))[:labelHash]
	return request
}

// MayMatch reports whether a change of a bundle may change what a request selects.
func (r TrustRequest) MayMatch(bundle *certificatesv1.ClusterTrustBundle) bool {
	if r.Name != "" {
		return r.Name == bundle.Name
	}
	return r.SignerName != "" && r.SignerName == bundle.Spec.SignerName
}

// Select returns the certificates that a request selects, each once, in a stable order. found is
// false if a required bundle does not exist.
func (r TrustRequest) Select(bundles []certificatesv1.ClusterTrustBundle) (text string, found bool, err error) {
	selector, err := metav1.LabelSelectorAsSelector(r.Selector)
	if err != nil {
		return "", false, fmt.Errorf("cannot read the label selector of signer %s: %w", r.SignerName, err)
	}
	found = r.Optional
	anchors := map[string]bool{}
	for i := range bundles {
		bundle := &bundles[i]
		if !r.MayMatch(bundle) || r.Name == "" && !selector.Matches(apilabels.Set(bundle.Labels)) {
			continue
		}
		found = true
		for block, rest := pem.Decode([]byte(bundle.Spec.TrustBundle)); block != nil; block, rest = pem.Decode(rest) {
			anchors[string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}))] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(anchors)), ""), found, nil
}

// trustSource returns the projected source for trust bundles in the host pod: a key of the pod's
// ConfigMap. The kubelet does not start the pod until the key exists, as with a missing bundle.
func trustSource(c Cluster, virtual *corev1.Pod, projected *corev1.ProjectedVolumeSource, bundle *corev1.ClusterTrustBundleProjection) corev1.VolumeProjection {
	return corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{
		LocalObjectReference: corev1.LocalObjectReference{Name: podFile(c, virtual, TrustRole)},
		Items: []corev1.KeyToPath{{
			Key: toTrustRequest(bundle).Key, Path: bundle.Path, User: bundle.User,
			Mode: tokenMode(virtual, firstUser(bundle.User, projected.DefaultUser)),
		}},
	}}
}
