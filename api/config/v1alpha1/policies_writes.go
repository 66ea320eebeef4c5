package v1alpha1

import "k8s.io/apimachinery/pkg/api/resource"

// Writes bounds what the tenant writes to the virtual store. A flood of writes would take the
// disk from all virtual clusters whose volumes share it.
type Writes struct {
	// Sustained rate of what the tenant's creates, updates and patches write, in bytes per second and
	// replica. More is delayed by up to a second, or answered with 429. A write counts as 4 KiB at
	// least. 0 means no limit.
	// Default: 8Mi
	BytesPerSecond resource.Quantity `json:"bytesPerSecond"`
	// Bytes that may be written at once after a pause.
	// Default: 64Mi
	Burst resource.Quantity `json:"burst"`
}

func defaultWrites() Writes {
	return Writes{BytesPerSecond: resource.MustParse("8Mi"), Burst: resource.MustParse("64Mi")}
}
