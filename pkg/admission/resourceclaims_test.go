package admission

import (
	"context"
	"errors"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// withResourceClaims switches claims of devices on.
func withResourceClaims(settings *v1alpha1.Config) {
	for _, kind := range []string{policy.ResourceClaimsSetting, policy.DeviceClassesSetting, "sync.fromHost.resourceSlices"} {
		settings.Sync.Kinds[kind] = v1alpha1.KindSettings{Enabled: true}
	}
}

func TestResourceClaimPolicy(t *testing.T) {
	t.Parallel()
	asks := func(class string) resourcev1.ResourceClaimSpec {
		return resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
			{Name: "one", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: class, AdminAccess: new(class == "admin")}},
		}}}
	}
	claim := func(class string) runtime.Object {
		return &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: asks(class)}
	}
	template := func(class string) runtime.Object {
		return &resourcev1.ResourceClaimTemplate{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: resourcev1.ResourceClaimTemplateSpec{Spec: asks(class)}}
	}
	ours := metav1.ObjectMeta{Name: "db", Annotations: map[string]string{labels.HostUID: "u"}}
	shows := func(_ context.Context, name string) (bool, error) { return name != "hidden", nil }
	for _, test := range []struct {
		reason, resource, kind string
		old, now               runtime.Object
		denial                 string // the golden file, empty for none
	}{
		{reason: "a class that is shown", resource: "resourceclaims", kind: "ResourceClaim", now: claim("gpus")},
		{reason: "a class that is not", resource: "resourceclaims", kind: "ResourceClaim", now: claim("hidden"), denial: "device-class"},
		{reason: "devices of others", resource: "resourceclaims", kind: "ResourceClaim", now: claim("admin"), denial: "device-admin"},
		{reason: "an old one stays", resource: "resourceclaims", kind: "ResourceClaim", old: claim("hidden"), now: claim("hidden")},
		{reason: "a template", resource: "resourceclaimtemplates", kind: "ResourceClaimTemplate", now: template("gpus")},
		{reason: "a template of a class that is not shown", resource: "resourceclaimtemplates", kind: "ResourceClaimTemplate", now: template("hidden"), denial: "device-template"},
		{reason: "a class of the host", resource: "deviceclasses", kind: "DeviceClass", old: &resourcev1.DeviceClass{ObjectMeta: ours}, denial: "device-class-delete"},
		{reason: "a slice of the host", resource: "resourceslices", kind: "ResourceSlice", old: &resourcev1.ResourceSlice{ObjectMeta: ours}, denial: "device-slice-delete"},
	} {
		settings := withClaims(withResourceClaims)
		checks := PolicyChecks(settings, hostClasses())
		AddClaimChecks(checks, settings, shows)
		err := askChecks(t, checks, resourcev1.Resource(test.resource), test.kind, test.old, test.now)
		switch {
		case test.denial != "":
			equalDenial(t, test.denial, err)
		case err != nil:
			t.Errorf("%s: %v", test.reason, err)
		}
	}
	checks := Checks{}
	AddClaimChecks(checks, withClaims(withResourceClaims), func(context.Context, string) (bool, error) { return false, errors.New("away") })
	if err := askChecks(t, checks, resourcev1.Resource("resourceclaims"), "ResourceClaim", nil, claim("gpus")); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a host that is not known yet: got %v, want 503", err)
	}
	off := Checks{}
	AddClaimChecks(off, v1alpha1.Default(), shows)
	if len(off) > 0 {
		t.Error("claims are off, and still checked")
	}
}

// TestDeviceResourcePolicy checks that no pod gets a device of a class that is not shown by a
// resource that the class has.
func TestDeviceResourcePolicy(t *testing.T) {
	t.Parallel()
	settings := v1alpha1.Default()
	settings.Sync.Kinds = map[string]v1alpha1.KindSettings{policy.DeviceClassesSetting: {
		Enabled: true, Selected: &v1alpha1.Selected{Selector: metav1.LabelSelector{MatchLabels: map[string]string{"tenants": "all"}}},
	}}
	class := func(name, tenants string) resourcev1.DeviceClass {
		return resourcev1.DeviceClass{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"tenants": tenants}},
			Spec:       resourcev1.DeviceClassSpec{ExtendedResourceName: new("example.com/" + name)},
		}
	}
	checks := Checks{}
	AddDeviceChecks(checks, settings, func(context.Context) ([]resourcev1.DeviceClass, error) {
		return []resourcev1.DeviceClass{class("shown", "all"), class("hidden", "none")}, nil
	})
	asks := func(resource string) *corev1.Pod {
		return readPod(t, `containers: [{name: web, image: nginx, resources: {limits: {`+resource+`: "1"}}}]`)
	}
	pods := corev1.Resource("pods")
	for _, allowed := range []string{"example.com/shown", "example.com/of-a-plugin", "cpu"} {
		if err := askChecks(t, checks, pods, "Pod", nil, asks(allowed)); err != nil {
			t.Errorf("%s: %v", allowed, err)
		}
	}
	equalDenial(t, "device-resource", askChecks(t, checks, pods, "Pod", nil, asks("example.com/hidden")))
	if err := askChecks(t, checks, pods, "Pod", asks("example.com/hidden"), asks("example.com/hidden")); err != nil {
		t.Errorf("an old one stays: %v", err)
	}
	var job batchv1.Job
	job.Spec.Template.Spec = asks("example.com/hidden").Spec
	decision, err := checks[batchv1.Resource("jobs")](t.Context(), admission.NewAttributesRecord(&job, nil, batchv1.SchemeGroupVersion.WithKind("Job"), "shop", "db",
		batchv1.SchemeGroupVersion.WithResource("jobs"), "", admission.Create, nil, false, nil), nil)
	if err != nil || len(decision.Violations) > 0 || len(decision.Warnings) != 1 {
		t.Errorf("a template is warned about: got %v, %v", decision, err)
	}
	away := Checks{}
	AddDeviceChecks(away, settings, func(context.Context) ([]resourcev1.DeviceClass, error) { return nil, errors.New("away") })
	if err := askChecks(t, away, pods, "Pod", nil, asks("example.com/shown")); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a host that is not known yet: got %v, want 503", err)
	}
	if err := askChecks(t, away, pods, "Pod", nil, asks("cpu")); err != nil {
		t.Errorf("no class is asked for: %v", err)
	}
}
