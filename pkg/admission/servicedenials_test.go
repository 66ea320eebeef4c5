package admission

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// prepare asks the steps about a Service under settings.
func prepare(t *testing.T, change func(*v1alpha1.ServicePolicy), old, now *corev1.Service, syncer bool) error {
	t.Helper()
	settings := v1alpha1.Default().Policies.Services
	if change != nil {
		change(&settings)
	}
	object := &internalService{Service: *now}
	var before runtime.Object
	operation := admission.Create
	if old != nil {
		before, operation = &internalService{Service: *old}, admission.Update
	}
	a := admission.NewAttributesRecord(object, before, corev1.SchemeGroupVersion.WithKind("Service"), now.Namespace, now.Name,
		corev1.SchemeGroupVersion.WithResource("services"), "", operation, nil, false, nil)
	steps := Services(ServiceOptions{
		Host: &fakeHost{}, Rules: policy.NewServices(settings), IsSyncer: func(context.Context) bool { return syncer },
	})
	_, err := steps.Prepare(t.Context(), a, admission.NewObjectInterfacesFromScheme(internalScheme(t)))
	return err
}

// ofType returns a change of the type of a Service.
func ofType(kind corev1.ServiceType) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.Type = kind }
}

// balancer returns a LoadBalancer Service with a change.
func balancer(change func(*corev1.Service)) *corev1.Service {
	return service(func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		if change != nil {
			change(s)
		}
	})
}

// TestServiceDenials compares each denial with the text that a tenant reads.
func TestServiceDenials(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settings func(*v1alpha1.ServicePolicy)
		old, now *corev1.Service
	}{
		"service-type": {
			settings: func(p *v1alpha1.ServicePolicy) {
				p.Types = []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort}
			},
			now: balancer(nil),
		},
		"service-type-update": {
			settings: func(p *v1alpha1.ServicePolicy) { p.Types = []corev1.ServiceType{corev1.ServiceTypeClusterIP} },
			old:      service(nil), now: service(ofType(corev1.ServiceTypeExternalName)),
		},
		"service-node-port": {
			now: service(func(s *corev1.Service) { s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, 31234 }),
		},
		"service-node-port-update": {
			old: stored(nil), now: stored(func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 31235 }),
		},
		"service-node-port-unmarked": {
			old: stored(func(s *corev1.Service) { s.Annotations = map[string]string{labels.HostUID: "forged"} }), now: stored(nil),
		},
		"service-balancer-class-unmarked": {
			settings: func(p *v1alpha1.ServicePolicy) { p.TenantLoadBalancerClasses = nil },
			old: balancer(func(s *corev1.Service) {
				s.Labels, s.Spec.LoadBalancerClass = map[string]string{labels.ControlPlaneService: "true"}, new("example.com/other")
			}),
			now: balancer(func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("example.com/other") }),
		},
		"service-health-port": {
			now: balancer(func(s *corev1.Service) {
				s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = corev1.ServiceExternalTrafficPolicyLocal, 32000
			}),
		},
		"service-external-ips": {
			now: service(func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"203.0.113.7", "192.0.2.1"} }),
		},
		"service-external-ips-range": {
			settings: func(p *v1alpha1.ServicePolicy) { p.ExternalIPs = []string{"203.0.113.0/28", "2001:db8::/64"} },
			now:      service(func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"203.0.113.7", "203.0.113.77"} }),
		},
		"service-cluster-ip": {
			settings: func(p *v1alpha1.ServicePolicy) { p.ExplicitClusterIPs = false },
			now:      service(func(s *corev1.Service) { s.Spec.ClusterIP = "10.96.0.10" }),
		},
		"service-balancer-ip": {
			settings: func(p *v1alpha1.ServicePolicy) { p.LoadBalancerIPs = []string{"192.0.2.0/24"} },
			now:      balancer(func(s *corev1.Service) { s.Spec.LoadBalancerIP = "198.51.100.1" }),
		},
		"service-balancer-class": {
			settings: func(p *v1alpha1.ServicePolicy) { p.TenantLoadBalancerClasses = nil },
			now:      balancer(func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("example.com/other") }),
		},
		"service-balancer-class-list": {
			settings: func(p *v1alpha1.ServicePolicy) {
				p.LoadBalancerClasses, p.TenantLoadBalancerClasses = []string{"example.com/internal"}, nil
			},
			now: balancer(func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("example.com/other") }),
		},
		"service-balancer-class-tenants": {
			settings: func(p *v1alpha1.ServicePolicy) { p.TenantLoadBalancerClasses = []string{"example.com/own"} },
			now:      balancer(func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("example.com/other") }),
		},
		"service-sources-unset": {
			settings: func(p *v1alpha1.ServicePolicy) { p.LoadBalancerSourceRanges = []string{"10.0.0.0/8"} },
			now:      balancer(nil),
		},
		"service-sources-outside": {
			settings: func(p *v1alpha1.ServicePolicy) { p.LoadBalancerSourceRanges = []string{"10.0.0.0/8"} },
			now: balancer(func(s *corev1.Service) {
				s.Spec.LoadBalancerSourceRanges = []string{"10.1.0.0/16", "192.0.2.0/24"}
			}),
		},
		"service-annotation-value": {
			settings: func(p *v1alpha1.ServicePolicy) { p.Annotations = map[string]string{"example.com/scheme": "internal"} },
			now: service(func(s *corev1.Service) {
				s.Annotations = map[string]string{"example.com/scheme": "internet-facing"}
			}),
		},
		"service-several": {
			settings: func(p *v1alpha1.ServicePolicy) { p.TenantLoadBalancerClasses = nil },
			now: balancer(func(s *corev1.Service) {
				s.Spec.ExternalIPs, s.Spec.Ports[0].NodePort = []string{"203.0.113.7"}, 31234
				s.Spec.LoadBalancerClass = new("example.com/other")
			}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			equalDenial(t, name, prepare(t, test.settings, test.old, test.now, false))
			if err := prepare(t, test.settings, test.old, test.now, true); err != nil {
				t.Errorf("the syncer writes what the host has: %v", err)
			}
		})
	}
}
