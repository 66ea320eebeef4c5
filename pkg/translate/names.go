package translate

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/api/labels"
)

// Cluster is the identity of a virtual cluster on its host.
type Cluster struct {
	// UID is the UID of the release's anchor object. It is unique and never changes while the
	// release exists.
	UID string
	// Name is the name of the release. The names of the chart's host objects begin with it.
	Name string
	// Namespace is the host namespace that holds every namespaced host object.
	Namespace string
	// Anchor is the owner reference of each of them.
	Anchor metav1.OwnerReference
}

// Scheme names the host copy of a virtual object. A scheme is injective: two
// virtual objects never share a host object, in one cluster or in two.
type Scheme func(c Cluster, virtual types.NamespacedName) types.NamespacedName

// maxPrefix is the length of the readable part of a hashed name. Together with
// the hash it fits in a DNS label of 63 characters, which Services need.
const maxPrefix = 63 - 1 - 26

// hashEncoding is base32 in lower case, which is valid in all names of Kubernetes objects.
var hashEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding) //nolint:gochecknoglobals // it is not changed

// Hashed names the copy of a virtual object in the host namespace. The name consists of a
// readable prefix and 128 bits of a hash over the cluster's UID, the virtual namespace and
// the virtual name.
func Hashed(c Cluster, virtual types.NamespacedName) types.NamespacedName {
	return types.NamespacedName{
		Namespace: c.Namespace,
		Name:      readablePrefix(virtual.Name) + "-" + hash(c.UID, virtual.Namespace, virtual.Name),
	}
}

// Derived returns the scheme of a second host object for a virtual object, such as the
// token Secret of a pod. The role is a part of the hash.
func Derived(role string) Scheme {
	return func(c Cluster, virtual types.NamespacedName) types.NamespacedName {
		return types.NamespacedName{
			Namespace: c.Namespace,
			Name:      readablePrefix(virtual.Name) + "-" + hash(c.UID, virtual.Namespace, virtual.Name, role),
		}
	}
}

// Same names cluster-scoped objects that have the same name on both sides.
func Same(_ Cluster, virtual types.NamespacedName) types.NamespacedName {
	return types.NamespacedName{Name: virtual.Name}
}

// readablePrefix returns the start of name, with characters that are invalid in a DNS label
// replaced.
func readablePrefix(name string) string {
	name = strings.ToLower(name)
	readable := make([]byte, 0, maxPrefix)
	for i := 0; i < len(name) && len(readable) < maxPrefix; i++ {
		c := name[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			readable = append(readable, c)
		} else {
			readable = append(readable, '-')
		}
	}
	trimmed := strings.Trim(string(readable), "-")
	if trimmed == "" || trimmed[0] < 'a' {
		// A Service's name begins with a letter.
		trimmed = "x" + trimmed
		if len(trimmed) > maxPrefix {
			trimmed = trimmed[:maxPrefix]
		}
	}
	return strings.TrimRight(trimmed, "-")
}

// hash returns 128 bits of a hash over parts, as 26 characters. It hashes the length of each part
// too, so that different lists of parts never give the same input.
func hash(parts ...string) string {
	h := sha256.New()
	var length [8]byte
	for _, part := range parts {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write([]byte(part))
	}
	return hashEncoding.EncodeToString(h.Sum(nil)[:16])
}

// Stamp writes the identity of the virtual object onto a new host object: name,
// labels, annotations and the owner reference to the anchor. An empty uid stamps
// [labels.Pending].
func Stamp(c Cluster, scheme Scheme, virtual types.NamespacedName, uid types.UID, host metav1.Object) {
	if uid == "" {
		uid = labels.Pending
	}
	key := scheme(c, virtual)
	host.SetNamespace(key.Namespace)
	host.SetName(key.Name)
	host.SetLabels(mergeMaps(host.GetLabels(), map[string]string{labels.Cluster: c.UID, labels.Namespace: virtual.Namespace}))
	host.SetAnnotations(mergeMaps(host.GetAnnotations(), map[string]string{
		labels.VirtualNamespace: virtual.Namespace,
		labels.VirtualName:      virtual.Name,
		labels.VirtualUID:       string(uid),
	}))
	// The host's garbage collector would delete an object whose owner is in another namespace.
	// Such a copy only has the label, and the engine sweeps it.
	if key.Namespace == "" || key.Namespace != c.Namespace {
		host.SetOwnerReferences(nil)
		return
	}
	anchor := c.Anchor
	if controller := metav1.GetControllerOfNoCopy(host); controller != nil && controller.UID == anchor.UID {
		anchor.Controller = controller.Controller // See [SetController].
	}
	host.SetOwnerReferences([]metav1.OwnerReference{anchor})
}

// SetController sets or clears the controller flag of the anchor's owner reference. "kubectl
// drain" and autoscalers assume that a pod with a controller is created again. If the object
// has another controller, that stays.
func SetController(c Cluster, host metav1.Object, controlled bool) {
	owners := slices.Clone(host.GetOwnerReferences())
	if len(owners) == 0 {
		owners = []metav1.OwnerReference{c.Anchor}
	}
	setController(c, owners, controlled)
	host.SetOwnerReferences(owners)
}

// KeepOwners restores the owner references that a host object had before, including those of
// others. The anchor keeps the controller flag that it has now.
func KeepOwners(c Cluster, host metav1.Object, before []metav1.OwnerReference) {
	controller := metav1.GetControllerOfNoCopy(host)
	owners := slices.Clone(before)
	setController(c, owners, controller != nil && controller.UID == c.Anchor.UID)
	host.SetOwnerReferences(owners)
}

// setController sets or clears the controller flag of the anchor in owners. It does not set it if
// another owner has it.
func setController(c Cluster, owners []metav1.OwnerReference, controlled bool) {
	isMarked := func(owner metav1.OwnerReference) bool { return owner.Controller != nil && *owner.Controller }
	for i := range owners {
		if owners[i].UID == c.Anchor.UID && isMarked(owners[i]) != controlled {
			owners[i].Controller = nil
			if controlled && !slices.ContainsFunc(owners, isMarked) {
				owners[i].Controller = new(true)
			}
		}
	}
}

// Origin returns the key and UID of the virtual object that a host object was created for. ours
// is true only if the host object has our cluster's UID and the name that scheme computes for
// that virtual object. Labels and annotations alone prove nothing, because others can write
// them.
func Origin(c Cluster, scheme Scheme, host metav1.Object) (virtual types.NamespacedName, uid types.UID, ours bool) {
	annotations := host.GetAnnotations()
	virtual = types.NamespacedName{Namespace: annotations[labels.VirtualNamespace], Name: annotations[labels.VirtualName]}
	uid = types.UID(annotations[labels.VirtualUID])
	ours = virtual.Name != "" && uid != "" &&
		host.GetLabels()[labels.Cluster] == c.UID &&
		scheme(c, virtual) == types.NamespacedName{Namespace: host.GetNamespace(), Name: host.GetName()}
	return virtual, uid, ours
}

// mergeMaps returns a copy of base in which over wins.
func mergeMaps(base, over map[string]string) map[string]string {
	merged := make(map[string]string, len(base)+len(over))
	maps.Copy(merged, base)
	maps.Copy(merged, over)
	return merged
}
