package attacks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// mergePatch returns a patch of the tenant.
func mergePatch(text string) client.Patch { return client.RawPatch(types.MergePatchType, []byte(text)) }

// newService returns a Service of the tenant.
func newService(name string, spec corev1.ServiceSpec) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: virtualNamespace, Name: name}, Spec: spec}
}

// deniedMarkedServices stores a Service under the mark of those that have no copy, so that no
// rule judges it, and removes the mark.
func deniedMarkedServices(t *testing.T, s *site) {
	service := newService("marked", corev1.ServiceSpec{
		Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80, NodePort: 31277}},
	})
	service.Labels = map[string]string{labels.ControlPlaneService: "true"}
	s.create(t, service)
	unmark := mergePatch(`{"metadata":{"labels":null}}`)
	err := s.tenant.Patch(t.Context(), service.DeepCopy(), unmark)
	wantDenied(t, "a certain node port behind a mark", err, "policies.services.explicitNodePorts")
	err = s.tenant.Status().Patch(t.Context(), service.DeepCopy(), unmark)
	wantDenied(t, "the same by way of the status", err, "policies.services.explicitNodePorts")
	if found, err := s.findCopy(t.Context(), client.ObjectKeyFromObject(service), &corev1.Service{}); err != nil || found {
		t.Errorf("a marked Service has a host copy: %t, %v", found, err)
	}
}

// unservedBalancers asks for a load balancer of a class that the operator has not opened. The
// Service may be for a controller of the tenant's own, so only its copy is harmless.
func unservedBalancers(t *testing.T, s *site) {
	service := newService("internal", corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: new("example.com/internal"), Ports: []corev1.ServicePort{{Port: 80}},
	})
	s.create(t, service)
	host := &corev1.Service{}
	s.hostCopy(t, client.ObjectKeyFromObject(service), host)
	if host.Spec.Type != corev1.ServiceTypeNodePort || host.Spec.LoadBalancerClass != nil {
		t.Errorf("its copy is of type %s and class %v", host.Spec.Type, host.Spec.LoadBalancerClass)
	}
}

// uncopiedNames makes a Service a name of somebody else, which proxies of the host would
// connect to.
func uncopiedNames(t *testing.T, s *site) {
	service := newService("named", corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}})
	s.create(t, service)
	s.hostCopy(t, client.ObjectKeyFromObject(service), &corev1.Service{})
	patch := mergePatch(`{"spec":{"type":"ExternalName","externalName":"kubernetes.default.svc","clusterIP":null,"clusterIPs":null}}`)
	if err := s.tenant.Patch(t.Context(), service.DeepCopy(), patch); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the host copy is gone", func(ctx context.Context) error {
		found, err := s.findCopy(ctx, client.ObjectKeyFromObject(service), &corev1.Service{})
		if err == nil && found {
			err = errors.New("it is there")
		}
		return err
	})
	if err := s.tenant.Patch(t.Context(), service.DeepCopy(), mergePatch(`{"spec":{"type":"ClusterIP","externalName":null}}`)); err != nil {
		t.Errorf("a name cannot become a Service with an address again: %v", err)
	}
	s.hostCopy(t, client.ObjectKeyFromObject(service), &corev1.Service{})
}

// removedAddress gives a slice so many labels that the host refuses its update, and then deletes the pod whose
// address it has. The network may give the address to somebody else.
func removedAddress(t *testing.T, s *site) {
	service, pod := newService("stale", corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}), newPod("stale", nil)
	s.create(t, service, pod)
	eventually(t, "the pod has an address", func(ctx context.Context) error {
		err := s.tenant.Get(ctx, client.ObjectKeyFromObject(pod), pod)
		if err == nil && pod.Status.PodIP == "" {
			err = fmt.Errorf("phase %s", pod.Status.Phase)
		}
		return err
	})
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: virtualNamespace, Name: "stale", Labels: map[string]string{discoveryv1.LabelServiceName: service.Name}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{pod.Status.PodIP}}},
	}
	s.create(t, slice)
	key, copied := client.ObjectKeyFromObject(slice), &discoveryv1.EndpointSlice{}
	s.hostCopy(t, key, copied)
	if len(copied.Endpoints) != 1 {
		t.Fatalf("the copy has the endpoints %v", copied.Endpoints)
	}
	many := map[string]string{}
	for i := range 40_000 { // On the host, each key is longer.
		many[fmt.Sprintf("l%05d", i)] = ""
	}
	patch := mergePatch(textOf(t, map[string]any{"metadata": map[string]any{"labels": many}}))
	if err := s.tenant.Patch(t.Context(), slice.DeepCopy(), patch); err != nil {
		t.Fatal(err)
	}
	s.awaitEvent(t, slice.Name, "too large")
	if err := s.tenant.Delete(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the copy has no address of a pod that is gone", func(ctx context.Context) error {
		found, err := s.findCopy(ctx, key, copied)
		if err != nil || !found || len(copied.Endpoints) == 0 {
			return err
		}
		var pods corev1.PodList
		if err := s.tenant.List(ctx, &pods); err != nil {
			return err
		}
		// Another test may have a pod with the same address by now.
		if slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool { return p.UID != pod.UID && p.Status.PodIP == pod.Status.PodIP }) {
			return nil
		}
		return fmt.Errorf("endpoints %v", copied.Endpoints)
	})
}
