package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Objects bounds the copies of the tenant's objects on the host. The control
// plane counts the copies itself, before it creates one. So the tenant reads who
// refused, and the quota keeps room for the objects of the release.
type Objects struct {
	// Number of copies on the host, by resource as quotas name it, such as configmaps or
	// leases.coordination.k8s.io. others is for each resource without an entry. 0 means no limit. Where
	// policies.resourceQuota.quota has a lower number, it counts, less some room for the release.
	// Default: {configmaps: 1k, networkpolicies.networking.k8s.io: "500", others: 2k, secrets: "2500", services: "450"}
	Count corev1.ResourceList `json:"count" keys:"label-key"`
	// Size of all copies on the host in bytes, by resource. others is for each resource without an
	// entry. 0 means no limit. Embedded stores have their own limit,
	// controlPlane.backingStore.etcd.embedded.quota. External ones have that of their operator.
	// Default: {networkpolicies.networking.k8s.io: 4Mi, others: 64Mi}
	Bytes corev1.ResourceList `json:"bytes" keys:"label-key"`
	// Number of finished pods that are kept. Of more, the oldest are deleted, as a cluster of one's own
	// does at 12500. 0 means that all are kept.
	// Default: 500
	FinishedPods int32 `json:"finishedPods" min:"0" max:"1000000"`
}

// OtherResources is the key of the limit of all resources without an entry.
const OtherResources = "others"

// networkPolicies is the resource of NetworkPolicies, as quotas name it.
const networkPolicies = "networkpolicies.networking.k8s.io"

func defaultObjects() Objects {
	return Objects{
		Count: corev1.ResourceList{
			"configmaps": resource.MustParse("1000"),
			"secrets":    resource.MustParse("2500"),
			"services":   resource.MustParse("450"),
			// Each is work for the network of every node.
			networkPolicies: resource.MustParse("500"),
			OtherResources:  resource.MustParse("2000"),
		},
		Bytes:        corev1.ResourceList{networkPolicies: resource.MustParse("4Mi"), OtherResources: resource.MustParse("64Mi")},
		FinishedPods: 500,
	}
}

// releaseObjects returns how many objects of a resource a release has and may need for an
// upgrade. helm keeps a Secret for each of its revisions.
func releaseObjects(name string) int64 {
	switch name {
	case "secrets":
		return 32
	case "configmaps", "services":
		return 8
	case "persistentvolumeclaims":
		return 1
	}
	return 0
}

// CopyCounts returns the greatest number of copies on the host by resource. It is that of
// the settings, or less if the quota has no room for so many and the objects of the release.
func (p Policies) CopyCounts() map[string]int64 {
	counts := map[string]int64{}
	for name, count := range p.Objects.Count {
		counts[string(name)] = count.Value()
	}
	if !p.HasResourceQuota() {
		return counts
	}
	for _, name := range []string{"configmaps", "secrets", "services", "persistentvolumeclaims", "pods"} {
		for _, key := range []string{name, "count/" + name} {
			hard, found := p.ResourceQuota.Quota[corev1.ResourceName(key)]
			if !found || key == "pods" { // The host counts those that run.
				continue
			}
			room := hard.Value() - min(releaseObjects(name), hard.Value()/2)
			count, found := counts[name]
			if !found {
				count = counts[OtherResources]
			}
			if count == 0 || room < count {
				counts[name] = max(room, 1)
			}
		}
	}
	return counts
}
