// Package release names the host objects of one release: those of the chart and
// those that the server creates. The server, the generator of the chart and the
// command line take every name from here.
package release

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Ports of the container of the control plane. The Services of the chart refer
// to them by name.
const (
	// APIPort serves the virtual API over TLS.
	APIPort = 8443
	// OperatorPort serves probes, metrics and /syncz to operators of the host.
	OperatorPort = 8444
	// PeerPort serves the members of the embedded etcd to each other, over mutual TLS.
	PeerPort = 2380
	// DNSPort serves the DNS of the virtual cluster over UDP and TCP.
	DNSPort = 1053
	// DNSHealthPort serves the probes of a DNS pod.
	DNSHealthPort = 8081
)

// Keys of the data of Secrets that the server writes.
const (
	// KubeconfigKey is the key of the file in the Secret [Release.Kubeconfig].
	KubeconfigKey = "config"
	// OperatorTokenKey is the key of the bearer token in the Secret
	// [Release.Operator].
	OperatorTokenKey = "token"
	// OperatorCAKey is the key of the certificate authority of the operator's
	// port in the Secret [Release.Operator].
	OperatorCAKey = "ca.crt"
)

// DNSServiceRangesKey is the key of the IP ranges of the host's Services in the Secret
// [Release.DNS]. They are separated by commas.
const DNSServiceRangesKey = "service-ranges"

// EncryptionKeysKey is the key of the keys in the Secret [Release.Encryption].
const EncryptionKeysKey = "keys"

// MaxMembers is the largest number of members of the embedded store. The chart has an
// address for each of them.
const MaxMembers = 5

// CertsType is the type of the Secret [Release.Certs].
const CertsType corev1.SecretType = "sublet.dev/certs"

// Release is one installation of the chart.
type Release struct {
	// Name is the name that Helm knows the release by.
	Name string
	// Namespace is the host namespace of the release.
	Namespace string
}

// Anchor returns the name of the ConfigMap that owns all that the server creates
// on the host. The chart creates it.
func (r Release) Anchor() string { return r.Name + "-anchor" }

// AnchorOwner returns the reference to the anchor with the given UID, for objects
// that are to be deleted with the release.
func (r Release) AnchorOwner(uid types.UID) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: r.Anchor(), UID: uid}
}

// Certs returns the name of the Secret with the certificate authority and the
// keys of the virtual cluster. The server creates it.
func (r Release) Certs() string { return r.Name + "-certs" }

// Kubeconfig returns the name of the Secret with the tenant's kubeconfig. The
// server creates it.
func (r Release) Kubeconfig() string { return r.Name + "-kubeconfig" }

// Operator returns the name of the Service in front of the operator's port, and
// of the Secret with its bearer token. The chart creates the Service, the server
// the Secret.
func (r Release) Operator() string { return r.Name + "-operator" }

// Encryption returns the name of the Secret with the keys of the encryption at rest. The
// server creates it, unless the settings name another one.
func (r Release) Encryption() string { return r.Name + "-encryption" }

// Config returns the name of the Secret with the values of the release.
func (r Release) Config() string { return r.Name + "-config" }

// Service returns the name of the Service in front of the virtual API server.
func (r Release) Service() string { return r.Name }

// DNS returns the name of the Service in front of the DNS of the virtual cluster. If pods of
// their own answer, it is also the name of their Deployment, their ServiceAccount and the
// Secret with their credential. The server creates the Secret.
func (r Release) DNS() string { return r.Name + "-dns" }

// Peer returns the name of the headless Service that leads to the pod with the given
// ordinal, as a member of the store.
func (r Release) Peer(ordinal int) string { return r.Name + "-peer-" + strconv.Itoa(ordinal) }

// StatefulSet returns the name of the workload that runs the control plane.
func (r Release) StatefulSet() string { return r.Name }

// Controllers returns the name of the workload that runs the controllers apart from the API.
// The Service in front of its operator port has the same name.
func (r Release) Controllers() string { return r.Name + "-controllers" }

// ControllersPod returns the name of the pod with the given ordinal of that workload.
func (r Release) ControllersPod(ordinal int) string {
	return r.Controllers() + "-" + strconv.Itoa(ordinal)
}

// Pod returns the name of the pod with the given ordinal.
func (r Release) Pod(ordinal int) string { return r.Name + "-" + strconv.Itoa(ordinal) }

// Ordinal returns the ordinal of a pod of the control plane. ok is false for other pods.
func (r Release) Ordinal(pod string) (ordinal int, ok bool) {
	suffix, ok := strings.CutPrefix(pod, r.Name+"-")
	if !ok {
		return 0, false
	}
	ordinal, err := strconv.Atoi(suffix)
	return ordinal, err == nil && ordinal >= 0 && r.Pod(ordinal) == pod
}

// Claim returns the name of the PersistentVolumeClaim of the pod with the given
// ordinal.
func (r Release) Claim(ordinal int) string { return "data-" + r.Pod(ordinal) }

// Backup returns the name of the PersistentVolumeClaim of the backups of the store.
func (r Release) Backup() string { return r.Name + "-backup" }

// BackupDir is where the control plane has the claim [Release.Backup].
const BackupDir = "/backup"

// ServiceAccount returns the name of the ServiceAccount of the control plane. Its
// Role and RoleBinding have the same name.
func (r Release) ServiceAccount() string { return r.Name }

// Workload returns the name of the ServiceAccount of the tenant's pods.
func (r Release) Workload() string { return r.Name + "-workload" }

// ClusterRole returns the name of the ClusterRole and the ClusterRoleBinding of
// the control plane. Not every release has them.
func (r Release) ClusterRole() string { return "sublet:" + r.Namespace + ":" + r.Name }

// Fence returns the name of the ValidatingAdmissionPolicy that bounds the account of the
// control plane, and of its binding. It is unique in the host, as neither part has a dot.
func (r Release) Fence() string { return r.Name + "." + r.Namespace + ".sublet.dev" }

// ArgoCD returns the name of the Secret by which Argo CD knows the virtual cluster. It is in the
// namespace of Argo CD, where it is unique: neither part has a dot.
func (r Release) ArgoCD() string { return "sublet." + r.Namespace + "." + r.Name }

// Exports returns the name of the Roles that let the control plane write Secrets in other
// namespaces.
func (r Release) Exports() string { return "sublet." + r.Namespace + "." + r.Name }

// Labels returns the labels of the objects that the server creates for the
// release itself.
func (r Release) Labels() map[string]string {
	return map[string]string{"app.kubernetes.io/name": "sublet", "app.kubernetes.io/instance": r.Name}
}

// componentLabel is the label with the part of the release that an object belongs to.
const componentLabel = "app.kubernetes.io/component"

// ControlPlaneSelector returns the labels by which the chart selects the pods of the
// control plane that serve the API.
func (r Release) ControlPlaneSelector() map[string]string {
	selector := r.Labels()
	selector[componentLabel] = "control-plane"
	return selector
}

// DNSSelector returns the labels by which the chart selects DNS pods.
func (r Release) DNSSelector() map[string]string {
	selector := r.Labels()
	selector["app.kubernetes.io/component"] = "dns"
	return selector
}

// ServerPods returns the selector of all pods that run the server.
func (r Release) ServerPods() *metav1.LabelSelector {
	return &metav1.LabelSelector{
		MatchLabels: r.Labels(),
		MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: componentLabel, Operator: metav1.LabelSelectorOpIn, Values: []string{"control-plane", "controllers"}},
		},
	}
}
