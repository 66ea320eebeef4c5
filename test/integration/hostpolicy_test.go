package integration

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestHostPolicy asks a whole API server for what endpoints and claims may not have of the
// host.
func TestHostPolicy(t *testing.T) {
	r := newRelease(t)
	c := r.virtual.client
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: r.namespace, Name: name} }
	slice := func(name string, addresses ...string) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{ObjectMeta: meta(name), AddressType: discoveryv1.AddressTypeIPv4}
		s.Labels = map[string]string{discoveryv1.LabelServiceName: "db"}
		for _, address := range addresses {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{address}})
		}
		return s
	}
	endpoints := func(name, address string) *corev1.Endpoints { //nolint:staticcheck // Tenants still use them.
		return &corev1.Endpoints{ObjectMeta: meta(name), Subsets: []corev1.EndpointSubset{ //nolint:staticcheck // As above.
			{Addresses: []corev1.EndpointAddress{{IP: address}}},
		}}
	}
	claim := func(name string, change func(*corev1.PersistentVolumeClaimSpec)) *corev1.PersistentVolumeClaim {
		pvc := &corev1.PersistentVolumeClaim{ObjectMeta: meta(name), Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: new("fast"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}},
		}}
		if change != nil {
			change(&pvc.Spec)
		}
		return pvc
	}
	const setting = "policies.endpoints.allowed"
	wantDenied(t, "a slice that leads to a node", c.Create(t.Context(), slice("evil", "10.0.0.1")), setting)
	wantDenied(t, "Endpoints that lead to a node", c.Create(t.Context(), endpoints("evil", "10.0.0.1")), setting)
	wantDenied(t, "a static volume of others", c.Create(t.Context(), claim("evil", func(s *corev1.PersistentVolumeClaimSpec) {
		s.StorageClassName, s.Selector = new(""), &metav1.LabelSelector{MatchLabels: map[string]string{"team": "another"}}
	})), "policies.volumes.staticClasses")
	wantDenied(t, "another class of the host", c.Create(t.Context(), claim("evil", func(s *corev1.PersistentVolumeClaimSpec) {
		s.StorageClassName = new("secret")
	})), "sync.fromHost.storageClasses.selector")
	wantDenied(t, "an ephemeral volume of another class", c.Create(t.Context(), ephemeralPod(r.namespace, "secret")),
		"sync.fromHost.storageClasses.selector")

	own := slice("own", "10.1.2.3")
	for _, object := range []client.Object{own, endpoints("own", "10.1.2.3"), claim("own", nil)} {
		if err := c.Create(t.Context(), object); err != nil {
			t.Errorf("what is the tenant's own is allowed: %v", err)
		}
	}
	patch := []byte(`{"endpoints":[{"addresses":["10.0.0.1"]}]}`)
	wantDenied(t, "a patch that leads to a node", c.Patch(t.Context(), own, client.RawPatch("application/merge-patch+json", patch)), setting)
}

// ephemeralPod returns a pod with an ephemeral volume of a class.
func ephemeralPod(namespace, class string) *corev1.Pod {
	pod := plainPod(namespace, "ephemeral")
	pod.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
		VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}},
		}},
	}}}}
	return pod
}
