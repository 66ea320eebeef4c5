package syncer

import (
	"encoding/json"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/api/meta"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// OtherResources is the name under which [ObjectLimits] has the limit of all resources
// that it does not name.
const OtherResources = "others"

// ObjectLimits bound how many copies one virtual cluster has on the host, and how large they
// are together. The zero value is no limit.
type ObjectLimits struct {
	// Count maps a resource, such as configmaps or leases.coordination.k8s.io -> the greatest
	// number of its copies. 0 is no limit.
	Count map[string]int64
	// Bytes maps a resource -> the greatest size of all its copies, in bytes. 0 is no limit.
	Bytes map[string]int64
}

// of returns the limits of a resource, and the keys under which they are set.
func (l ObjectLimits) of(resource string) (count, bytes objectLimit) {
	return limitOf(l.Count, "count", resource), limitOf(l.Bytes, "bytes", resource)
}

// objectLimit is one limit.
type objectLimit struct {
	most    int64  // 0 is no limit
	unit    string // count or bytes
	setting string
}

func limitOf(limits map[string]int64, unit, resource string) objectLimit {
	key := resource
	most, found := limits[key]
	if !found {
		key = OtherResources
		most = limits[key]
	}
	return objectLimit{most: most, unit: unit, setting: "policies.objects." + unit + "." + key}
}

// allows reports whether the limit allows asked in addition to used. A copy that does not grow
// is always allowed, so that a lowered limit does not prevent changes of existing objects.
func (l objectLimit) allows(used, asked int64) bool {
	return l.most == 0 || asked <= 0 || used+asked <= l.most
}

// limitError is returned for a copy that would exceed a limit of the virtual cluster. It is a
// Forbidden error like that of an exceeded quota, so it is handled as a refusal of the host.
type limitError struct {
	resource    string
	limit       objectLimit
	used, asked int64
}

// Error names the limit, what is used, and what was asked.
func (e *limitError) Error() string {
	amount := func(n int64) string { return fmt.Sprint(n) }
	if e.limit.unit == "bytes" {
		amount = func(n int64) string { return quantity.NewQuantity(n, quantity.BinarySI).String() }
	}
	return fmt.Sprintf("exceeded limit of the virtual cluster: %s of %s: used %s, asked %s, hard %s. "+
		"Delete some, or ask the operator of the host to raise %s",
		e.limit.unit, e.resource, amount(e.used), amount(e.asked), amount(e.limit.most), e.limit.setting)
}

// Status implements apierrors.APIStatus.
func (e *limitError) Status() metav1.Status {
	return metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: e.Error(),
	}
}

// resourceName returns the name of the resource of a kind in [ObjectLimits]. It is the
// one that quotas use.
func resourceName(gvk schema.GroupVersionKind) string {
	plural, _ := meta.UnsafeGuessKindToResource(gvk)
	if plural.Group == "" {
		return plural.Resource
	}
	return plural.Resource + "." + plural.Group
}

// sizeOf returns the size of an object in bytes, as it is stored.
func sizeOf(object client.Object) int64 {
	if sized, ok := object.(interface{ Size() int }); ok {
		return int64(sized.Size())
	}
	data, err := json.Marshal(object)
	if err != nil {
		return 0
	}
	return int64(len(data))
}

// Usage is the usage of one resource.
type Usage struct {
	// Resource is the resource, such as configmaps.
	Resource string
	// Count and Bytes are the number and the size of the copies.
	Count, Bytes int64
	// MaxCount and MaxBytes are the limits, 0 for none.
	MaxCount, MaxBytes int64
}
