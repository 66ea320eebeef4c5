package policy_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// doubled returns an expression whose value has two parts that are the same one, which has two parts, and so on.
func doubled(times int) string {
	text := "a == a"
	for range times {
		text = "cel.bind(a, [a, a], " + text + ")"
	}
	return "cel.bind(a, [true, true], " + text + ")"
}

// TestCheckClaim checks what a claim may ask of devices. gpus is the class that is shown.
func TestCheckClaim(t *testing.T) {
	t.Parallel()
	opaque := func(driver string) resourcev1.DeviceClaimConfiguration {
		return resourcev1.DeviceClaimConfiguration{DeviceConfiguration: resourcev1.DeviceConfiguration{Opaque: &resourcev1.OpaqueDeviceConfiguration{Driver: driver}}}
	}
	claim := func(change func(*resourcev1.ExactDeviceRequest)) resourcev1.DeviceClaim {
		exactly := &resourcev1.ExactDeviceRequest{DeviceClassName: "gpus"}
		change(exactly)
		return resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Name: "one", Exactly: exactly}}}
	}
	selects := func(expression string) resourcev1.DeviceClaim {
		return claim(func(r *resourcev1.ExactDeviceRequest) {
			r.Selectors = []resourcev1.DeviceSelector{{}, {CEL: &resourcev1.CELDeviceSelector{Expression: expression}}}
		})
	}
	costly := []string{"spec.devices.requests[0].exactly.selectors[1].cel.expression"}
	tolerates := func(key string) resourcev1.DeviceClaim {
		return claim(func(r *resourcev1.ExactDeviceRequest) { r.Tolerations = []resourcev1.DeviceToleration{{Key: key}} })
	}
	allowing := v1alpha1.DevicePolicy{ConfigDrivers: []string{"gpu.example.com"}, Tolerations: []string{"example.com/*"}}
	tests := map[string]struct {
		reason string
		rules  v1alpha1.DevicePolicy
		claim  resourcev1.DeviceClaim
		want   []string
	}{
		"Plain": {reason: "a class that is shown, with any CEL expression", claim: claim(func(r *resourcev1.ExactDeviceRequest) {
			r.Selectors = []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: "true"}}}
		})},
		"Constants":   {reason: "constants are bounded by their text", claim: selects(`quantity("1Gi").isLessThan(device.capacity["x"].memory) && device.attributes["x"].model.matches("^a{1,3}$") && matches(device.driver, "x")`)},
		"ModelName":   {reason: "a regular expression is no quantity", claim: selects(`device.attributes["x"].model.matches("E5450") || "x".find("12e4000") == ""`)},
		"SharedLists": {reason: "a value of billions of parts", claim: selects(doubled(40)), want: costly},
		"MappedLists": {reason: "the same without lists that are bound", claim: selects(`[1,1].map(a, [1,1].map(b, [1,1].map(c, true))) == []`), want: costly},
		"Bound":       {reason: "an ordinary binding", claim: selects(`cel.bind(d, device.attributes["x"], d.one && d.two)`)},
		"BuiltRegex":  {reason: "a regular expression of any size", claim: selects(`"x".matches("(?:" + device.driver + "){1000}")`), want: costly},
		"GlobalRegex": {reason: "it is also a function", claim: selects(`matches("x", device.driver)`), want: costly},
		"FoundRegex":  {reason: "another function, inside of a macro", claim: selects(`["x"].exists(x, x.find(device.driver) == "y")`), want: costly},
		"HugeText":    {reason: "a quantity that takes hours", claim: selects(`isQuantity("1e-2000000000")`), want: costly},
		"BuiltText":   {reason: "such a quantity, put together", claim: selects(`quantity("1e-" + device.driver).isInteger()`), want: costly},
		"HugeCapacity": {
			reason: "the host's scheduler compares it", claim: claim(func(r *resourcev1.ExactDeviceRequest) {
				r.Capacity = &resourcev1.CapacityRequirements{Requests: map[resourcev1.QualifiedName]resource.Quantity{"memory": resource.MustParse("1e40")}}
			}),
			want: []string{"spec.devices.requests[0].exactly.capacity.requests[memory]"},
		},
		"Hidden": {
			reason: "a class that the operator keeps for others", claim: claim(func(r *resourcev1.ExactDeviceRequest) { r.DeviceClassName = "hidden" }),
			want: []string{"spec.devices.requests[0].exactly.deviceClassName"},
		},
		"Alternative": {
			reason: "each alternative counts",
			claim: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Name: "one", FirstAvailable: []resourcev1.DeviceSubRequest{
				{DeviceClassName: "gpus"}, {DeviceClassName: "hidden", Tolerations: []resourcev1.DeviceToleration{{}}},
			}}}},
			want: []string{"spec.devices.requests[0].firstAvailable[1].deviceClassName", "spec.devices.requests[0].firstAvailable[1].tolerations[0]"},
		},
		"Admin": {
			reason: "devices of others", claim: claim(func(r *resourcev1.ExactDeviceRequest) { r.AdminAccess = new(true) }), rules: allowing,
			want: []string{"spec.devices.requests[0].exactly.adminAccess"},
		},
		"NoAdmin":           {reason: "it says that it wants none", claim: claim(func(r *resourcev1.ExactDeviceRequest) { r.AdminAccess = new(false) })},
		"Parameters":        {reason: "a driver reads them as root", claim: resourcev1.DeviceClaim{Config: []resourcev1.DeviceClaimConfiguration{opaque("gpu.example.com")}}, want: []string{"spec.devices.config[0].opaque.driver"}},
		"AllowedParameters": {reason: "the operator knows the driver", rules: allowing, claim: resourcev1.DeviceClaim{Config: []resourcev1.DeviceClaimConfiguration{opaque("gpu.example.com")}}},
		"OtherParameters":   {reason: "and only that one", rules: allowing, claim: resourcev1.DeviceClaim{Config: []resourcev1.DeviceClaimConfiguration{{}, opaque("net.example.com")}}, want: []string{"spec.devices.config[1].opaque.driver"}},
		"Toleration":        {reason: "a taint is the operator's word", claim: tolerates("example.com/broken"), want: []string{"spec.devices.requests[0].exactly.tolerations[0]"}},
		"AllowedToleration": {reason: "the operator lets them", rules: allowing, claim: tolerates("example.com/slow")},
		"EveryTaint":        {reason: "no key is every key", rules: allowing, claim: tolerates(""), want: []string{"spec.devices.requests[0].exactly.tolerations[0]"}},
		"EveryTaintAllowed": {reason: "the operator lets all", rules: v1alpha1.DevicePolicy{Tolerations: []string{"*"}}, claim: tolerates("")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shows := func(class string) (bool, error) { return class == "gpus", nil }
			violations, err := policy.NewDevices(tt.rules).Check("spec", &resourcev1.ResourceClaimSpec{Devices: tt.claim}, shows)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, fieldsOf(violations)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
			}
		})
	}
}

// TestCheckClaimOfUnknownHost holds that a claim is not allowed as long as the host does not
// tell its classes.
func TestCheckClaimOfUnknownHost(t *testing.T) {
	t.Parallel()
	spec := resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Exactly: &resourcev1.ExactDeviceRequest{}}}}}
	unknown := errors.New("unknown")
	if _, err := (policy.Devices{}).Check("spec", &spec, func(string) (bool, error) { return false, unknown }); !errors.Is(err, unknown) {
		t.Errorf("got error %v, want %v", err, unknown)
	}
}

// TestDeviceClassesAsResources checks that no pod gets a device of a class by naming the class
// in its resources.
func TestDeviceClassesAsResources(t *testing.T) {
	t.Parallel()
	one := corev1.ResourceList{corev1.ResourceName(resourcev1.ResourceDeviceClassPrefix + "gpus"): resource.MustParse("1")}
	spec := corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "a", Resources: corev1.ResourceRequirements{Limits: one, Requests: one}}}}
	for _, on := range []bool{false, true} {
		rules := policy.NewPods(v1alpha1.Default().Policies, policy.PodOptions{ResourceClaims: on})
		want := []string{"spec.containers[0].resources.limits", "spec.containers[0].resources.requests"}
		if diff := cmp.Diff(want, fieldsOf(rules.Evaluate(&metav1.ObjectMeta{}, &spec))); diff != "" {
			t.Errorf("claims are on: %t (-want +got):\n%s", on, diff)
		}
	}
}

// TestDeviceResources checks which extended resources a tenant may ask for whose devices the host
// takes from a class.
func TestDeviceResources(t *testing.T) {
	t.Parallel()
	class := func(tenants, resource string) resourcev1.DeviceClass {
		c := resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"tenants": tenants}}}
		if resource != "" {
			c.Spec.ExtendedResourceName = &resource
		}
		return c
	}
	asks := func(name corev1.ResourceName) *corev1.PodSpec {
		one := corev1.ResourceRequirements{Limits: corev1.ResourceList{name: resource.MustParse("1")}}
		return &corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Resources: one}}}
	}
	shown := metav1.LabelSelector{MatchLabels: map[string]string{"tenants": "all"}}
	gpu, limits := corev1.ResourceName("example.com/gpu"), []string{"spec.containers[0].resources.limits"}
	for name, tt := range map[string]struct {
		reason   string
		classes  []resourcev1.DeviceClass
		selector metav1.LabelSelector
		asks     corev1.ResourceName
		want     []string
	}{
		"Shown":     {reason: "the tenant sees the class", classes: []resourcev1.DeviceClass{class("all", string(gpu))}, selector: shown, asks: gpu},
		"Hidden":    {reason: "the class is for others", classes: []resourcev1.DeviceClass{class("none", string(gpu))}, selector: shown, asks: gpu, want: limits},
		"Every":     {reason: "no selector shows all", classes: []resourcev1.DeviceClass{class("none", string(gpu))}, asks: gpu},
		"First":     {reason: "the host may pick the class that is hidden", classes: []resourcev1.DeviceClass{class("none", string(gpu)), class("all", string(gpu))}, selector: shown, asks: gpu, want: limits},
		"Second":    {reason: "in any order", classes: []resourcev1.DeviceClass{class("all", string(gpu)), class("none", string(gpu))}, selector: shown, asks: gpu, want: limits},
		"Other":     {reason: "a device plugin has the resource", classes: []resourcev1.DeviceClass{class("none", "")}, selector: shown, asks: gpu},
		"CPU":       {reason: "no class has it", classes: []resourcev1.DeviceClass{class("none", string(gpu))}, selector: shown, asks: corev1.ResourceCPU},
		"Malformed": {reason: "a selector that selects nothing", classes: []resourcev1.DeviceClass{class("all", string(gpu))}, selector: metav1.LabelSelector{MatchLabels: map[string]string{"a b": "c"}}, asks: gpu, want: limits},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := asks(tt.asks)
			if diff := cmp.Diff(tt.want, fieldsOf(policy.NewDeviceResources(tt.classes, tt.selector).Evaluate(spec))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
			}
			if got, want := policy.HasExtendedResources(spec), tt.asks == gpu; got != want {
				t.Errorf("has extended resources: %t, want %t", got, want)
			}
		})
	}
}

// fieldsOf returns the fields of violations.
func fieldsOf(violations []policy.Violation) []string {
	var fields []string
	for _, violation := range violations {
		fields = append(fields, violation.Field)
	}
	return fields
}
