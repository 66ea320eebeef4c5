package policy

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/translate"
)

const (
	// ResourceClaimsSetting is the path of the settings of the tenant's ResourceClaims.
	ResourceClaimsSetting = "sync.toHost.resourceClaims"
	// DeviceClassesSetting is the path of the settings of the host's device classes.
	DeviceClassesSetting = "sync.fromHost.deviceClasses"
)

// Devices checks what a tenant asks of devices of the host.
type Devices struct {
	rules v1alpha1.DevicePolicy
}

// NewDevices returns the rules that the settings ask for.
func NewDevices(settings v1alpha1.DevicePolicy) Devices { return Devices{settings} }

// Check returns the fields of a ResourceClaim that are not allowed. path is that of its spec,
// and shows reports whether the tenant sees a device class of the host. The host's scheduler
// evaluates CEL expressions, with limits of their cost, and computes with quantities.
func (d Devices) Check(path string, spec *resourcev1.ResourceClaimSpec, shows func(class string) (bool, error)) ([]Violation, error) {
	violations := Quantities(path, spec)
	for i := range spec.Devices.Requests {
		for _, r := range deviceRequests(at(path+".devices.requests", i), &spec.Devices.Requests[i]) {
			wrong, err := d.checkRequest(r, shows)
			if err != nil {
				return nil, err
			}
			violations = append(violations, wrong...)
		}
	}
	for i, config := range spec.Devices.Config {
		if config.Opaque == nil || slices.Contains(d.rules.ConfigDrivers, config.Opaque.Driver) {
			continue
		}
		violations = append(violations, Violation{
			Field: at(path+".devices.config", i) + ".opaque.driver", Value: config.Opaque.Driver,
			Detail:  "no parameters may be sent to this driver of the host; allowed: " + orNone(d.rules.ConfigDrivers),
			Setting: "policies.devices.configDrivers",
		})
	}
	return violations, nil
}

// deviceRequest is one request for devices, or one alternative of a request.
type deviceRequest struct {
	path, class string
	adminAccess bool
	tolerations []resourcev1.DeviceToleration
	selectors   []resourcev1.DeviceSelector
}

// deviceRequests returns a request, or its alternatives.
func deviceRequests(path string, request *resourcev1.DeviceRequest) []deviceRequest {
	var requests []deviceRequest
	if e := request.Exactly; e != nil {
		requests = append(requests, deviceRequest{
			path: path + ".exactly", class: e.DeviceClassName, adminAccess: e.AdminAccess != nil && *e.AdminAccess,
			tolerations: e.Tolerations, selectors: e.Selectors,
		})
	}
	for i := range request.FirstAvailable {
		alternative := &request.FirstAvailable[i]
		requests = append(requests, deviceRequest{
			path: at(path+".firstAvailable", i), class: alternative.DeviceClassName,
			tolerations: alternative.Tolerations, selectors: alternative.Selectors,
		})
	}
	return requests
}

// checkRequest returns the fields of a request that are not allowed.
func (d Devices) checkRequest(r deviceRequest, shows func(class string) (bool, error)) ([]Violation, error) {
	var violations []Violation
	shown, err := shows(r.class)
	if err != nil {
		return nil, err
	}
	if !shown {
		violations = append(violations, Violation{
			Field: r.path + ".deviceClassName", Value: r.class, Setting: DeviceClassesSetting + ".selector",
			Detail: "this virtual cluster has no such device class of the host",
		})
	}
	if r.adminAccess {
		violations = append(violations, Violation{
			Field: r.path + ".adminAccess", Value: "true", Detail: "it would open devices that others use; leave it out",
		})
	}
	for i, toleration := range r.tolerations {
		if matchesAny(d.rules.Tolerations, toleration.Key) {
			continue
		}
		violations = append(violations, Violation{
			Field: at(r.path+".tolerations", i), Value: cmp.Or(toleration.Key, "every taint"), Setting: "policies.devices.tolerations",
			Detail: "claims may not tolerate this taint of devices; allowed: " + orNone(d.rules.Tolerations),
		})
	}
	return append(violations, checkExpressions(r.path, r.selectors)...), nil
}

// deviceClassResources returns the resources of a pod that name a device class. The host would
// make a claim of that class, whether the tenant sees it or not.
func deviceClassResources(_ *metav1.ObjectMeta, spec *corev1.PodSpec) []Violation {
	return evaluateResources(spec, func(name corev1.ResourceName) (Violation, bool) {
		return Violation{
			Setting: ResourceClaimsSetting + ".enabled", Detail: "pods may not name device classes of the host here; use a ResourceClaim",
		}, strings.HasPrefix(string(name), resourcev1.ResourceDeviceClassPrefix)
	})
}

// DeviceResources maps an extended resource for which the host takes devices of a class -> whether
// the tenant may ask for it.
type DeviceResources map[corev1.ResourceName]bool

// NewDeviceResources returns the resources of all device classes of the host. The tenant may ask
// for those whose classes the selector shows. If two classes have a resource, the host picks one,
// so both must be shown.
func NewDeviceResources(classes []resourcev1.DeviceClass, shown metav1.LabelSelector) DeviceResources {
	selector, err := metav1.LabelSelectorAsSelector(&shown)
	if err != nil {
		selector = labels.Nothing()
	}
	resources := DeviceResources{}
	for i := range classes {
		if name := classes[i].Spec.ExtendedResourceName; name != nil {
			before, found := resources[corev1.ResourceName(*name)]
			resources[corev1.ResourceName(*name)] = selector.Matches(labels.Set(classes[i].Labels)) && (before || !found)
		}
	}
	return resources
}

// Evaluate returns the resources of a pod that stand for devices which the tenant may not have.
func (d DeviceResources) Evaluate(spec *corev1.PodSpec) []Violation {
	return evaluateResources(spec, func(name corev1.ResourceName) (Violation, bool) {
		allowed, known := d[name]
		return Violation{
			Setting: DeviceClassesSetting + ".selector",
			Detail:  "the host takes devices of a class for this resource, and this virtual cluster has no such device class",
		}, known && !allowed
	})
}

// HasExtendedResources reports whether a pod asks for resources that Kubernetes itself does not
// define.
func HasExtendedResources(spec *corev1.PodSpec) bool {
	return len(evaluateResources(spec, func(name corev1.ResourceName) (Violation, bool) {
		return Violation{}, translate.IsExtendedResource(name)
	})) > 0
}

// evaluateResources returns the violations of the resources that a pod asks for, with their fields.
func evaluateResources(spec *corev1.PodSpec, check func(name corev1.ResourceName) (violation Violation, denied bool)) []Violation {
	var violations []Violation
	for _, c := range containers(spec) {
		for path, list := range map[string]corev1.ResourceList{"limits": c.Resources.Limits, "requests": c.Resources.Requests} {
			for name := range list {
				if violation, denied := check(name); denied {
					violation.Field, violation.Value = c.path+".resources."+path, string(name)
					violations = append(violations, violation)
				}
			}
		}
	}
	slices.SortFunc(violations, func(a, b Violation) int { return strings.Compare(a.Field+a.Value, b.Field+b.Value) })
	return violations
}
