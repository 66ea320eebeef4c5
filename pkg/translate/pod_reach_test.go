package translate

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// certs is the Secret that a hostile tenant wants most: the keys of the virtual
// cluster, in the namespace in which its pods run.
const certs = "shop-certs"

// greedy puts certs into every field that can name an object. It finds those fields in the
// types of Kubernetes, also ones that are new.
func greedy(v reflect.Value, depth int) {
	if depth == 0 || !v.CanSet() {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		greedy(v.Elem(), depth-1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		greedy(v.Index(0), depth-1)
	case reflect.Struct:
		_, local := reflect.TypeAssert[corev1.LocalObjectReference](v)
		for i := range v.NumField() {
			name, field := v.Type().Field(i).Name, v.Field(i)
			named := local && name == "Name" || strings.HasSuffix(name, "SecretName") || strings.HasSuffix(name, "ClaimName") || name == "ServiceAccountName" || name == "DeprecatedServiceAccount"
			if named && field.Kind() == reflect.String {
				field.SetString(certs)
				continue
			}
			if name != "ManagedFields" { // bytes of a format of their own
				greedy(field, depth-1)
			}
		}
	}
}

// TestNoReferenceReachesTheRelease holds that no field of a pod names an object of
// the host namespace, neither one that we know nor one that Kubernetes adds.
func TestNoReferenceReachesTheRelease(t *testing.T) {
	t.Parallel()
	virtual := webPod()
	greedy(reflect.ValueOf(&virtual.Spec).Elem(), 16)
	virtual.Spec.SchedulingGroup, virtual.Spec.SetHostnameAsFQDN = nil, nil
	virtual.Spec.ResourceClaims[0].ResourceClaimTemplateName = nil
	virtual.Spec.Volumes = nil
	for field := range reflect.TypeFor[corev1.VolumeSource]().Fields() {
		volume := corev1.Volume{Name: strings.ToLower(field.Name)}
		greedy(reflect.ValueOf(&volume.VolumeSource).Elem().FieldByIndex(field.Index), 16)
		virtual.Spec.Volumes = append(virtual.Spec.Volumes, volume)
	}
	asked, err := json.Marshal(virtual.Spec)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(asked), certs); n < 29 {
		t.Fatalf("the pod names %s %d times only: the test does not test", certs, n)
	}
	in := input()
	in.ResourceClaims = true
	host := created(t, in, virtual)
	got, err := json.Marshal(host.Spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, rest := range strings.SplitAfter(string(got), `"`+certs+`"`)[:strings.Count(string(got), `"`+certs+`"`)] {
		t.Errorf("the host pod still names it: ...%s", rest[max(0, len(rest)-200):])
	}
}
