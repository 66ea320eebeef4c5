package admission

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// storedBalancer returns a Service as the API server stores it, with all fields that only load balancers have.
func storedBalancer(change func(*corev1.Service)) *corev1.Service {
	yes, class := true, "example.com/lb"
	return stored(func(s *corev1.Service) {
		s.Spec.Type, s.Spec.LoadBalancerClass, s.Spec.AllocateLoadBalancerNodePorts = corev1.ServiceTypeLoadBalancer, &class, &yes
		s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyLocal, 31700
		if change != nil {
			change(s)
		}
	})
}

func TestDropTypeDependent(t *testing.T) {
	t.Parallel()
	no := false
	tests := map[string]struct {
		reason  string
		service *corev1.Service
		want    func(*corev1.Service)
	}{
		"Same": {reason: "each field belongs to the type", service: storedBalancer(nil)},
		"ClusterIP": {
			reason: "no field belongs to the type, and the request changes none", service: storedBalancer(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }),
			want: func(s *corev1.Service) {
				s.Spec.Ports[0].NodePort, s.Spec.HealthCheckNodePort, s.Spec.ExternalTrafficPolicy = 0, 0, ""
				s.Spec.AllocateLoadBalancerNodePorts, s.Spec.LoadBalancerClass = nil, nil
			},
		},
		"NodePort": {
			reason: "node ports and the policy stay", service: storedBalancer(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }),
			want: func(s *corev1.Service) {
				s.Spec.HealthCheckNodePort, s.Spec.AllocateLoadBalancerNodePorts, s.Spec.LoadBalancerClass = 0, nil, nil
			},
		},
		"ExternalIPs": {
			reason: "the policy holds for external addresses too",
			service: storedBalancer(func(s *corev1.Service) {
				s.Spec.Type, s.Spec.ExternalIPs = corev1.ServiceTypeClusterIP, []string{"192.0.2.1"}
			}),
			want: func(s *corev1.Service) {
				s.Spec.Ports[0].NodePort, s.Spec.HealthCheckNodePort = 0, 0
				s.Spec.AllocateLoadBalancerNodePorts, s.Spec.LoadBalancerClass = nil, nil
			},
		},
		"Changed": {
			reason: "what the request changes stays, so that it is refused",
			service: storedBalancer(func(s *corev1.Service) {
				other := "example.com/other"
				s.Spec.Type, s.Spec.Ports[0].NodePort, s.Spec.HealthCheckNodePort = corev1.ServiceTypeClusterIP, 30799, 31799
				s.Spec.AllocateLoadBalancerNodePorts, s.Spec.LoadBalancerClass = &no, &other
				s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
			}),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := test.service.DeepCopy()
			if test.want != nil {
				test.want(want)
			}
			dropTypeDependent(storedBalancer(nil), test.service)
			if diff := cmp.Diff(want, test.service); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.reason, diff)
			}
		})
	}
}
