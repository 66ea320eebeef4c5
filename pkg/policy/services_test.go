package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
)

func service(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{{Port: 80}}}}
	if change != nil {
		change(s)
	}
	return s
}

// TestServicesAllowed checks what ordinary software does under the default settings.
func TestServicesAllowed(t *testing.T) {
	t.Parallel()
	nodePort := func(ports ...int32) *corev1.Service {
		return service(func(s *corev1.Service) {
			s.Spec.Type, s.Spec.Ports = corev1.ServiceTypeNodePort, nil
			for i, port := range ports {
				s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: int32(i + 1), NodePort: port})
			}
		})
	}
	for _, test := range []struct {
		reason   string
		settings func(*v1alpha1.ServicePolicy)
		old, now *corev1.Service
	}{
		{reason: "a plain Service", now: service(nil)},
		{reason: "a node port that the host picks", now: nodePort(0)},
		{reason: "a node port that is stored already", old: nodePort(31000), now: nodePort(31000, 0)},
		{reason: "stored node ports in another order", old: nodePort(31000, 31001), now: nodePort(31001, 31000)},
		{reason: "a headless Service", now: service(func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone })},
		{
			reason: "a headless Service where the host picks addresses", settings: func(p *v1alpha1.ServicePolicy) { p.ExplicitClusterIPs = false },
			now: service(func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"} }),
		},
		{
			reason: "a stored address where the host picks them", settings: func(p *v1alpha1.ServicePolicy) { p.ExplicitClusterIPs = false },
			old: service(func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.7", []string{"10.96.0.7"} }),
			now: service(func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.7", []string{"10.96.0.7"} }),
		},
		{reason: "a balancer with an address of its own", now: service(func(s *corev1.Service) {
			s.Spec.Type, s.Spec.LoadBalancerIP = corev1.ServiceTypeLoadBalancer, "192.0.2.40"
			s.Spec.LoadBalancerSourceRanges = []string{"198.51.100.0/24"}
		})},
		{reason: "an external name", now: service(func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, "db.example.com"
		})},
		{
			reason: "stored values that a new setting denies",
			settings: func(p *v1alpha1.ServicePolicy) {
				p.Types, p.LoadBalancerIPs, p.LoadBalancerSourceRanges = nil, nil, nil
			},
			old: service(func(s *corev1.Service) {
				s.Spec.Type, s.Spec.LoadBalancerIP = corev1.ServiceTypeLoadBalancer, "192.0.2.40"
			}),
			now: service(func(s *corev1.Service) {
				s.Spec.Type, s.Spec.LoadBalancerIP = corev1.ServiceTypeLoadBalancer, "192.0.2.40"
			}),
		},
		{
			reason: "an external address of the list", settings: func(p *v1alpha1.ServicePolicy) { p.ExternalIPs = []string{"203.0.113.0/28"} },
			now: service(func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"203.0.113.7"} }),
		},
	} {
		settings := v1alpha1.Default().Policies.Services
		if test.settings != nil {
			test.settings(&settings)
		}
		if violations := policy.NewServices(settings).Check(test.old, test.now); len(violations) > 0 {
			t.Errorf("%s: %v", test.reason, violations)
		}
	}
}

func TestServiceAnnotations(t *testing.T) {
	t.Parallel()
	settings := v1alpha1.Default().Policies.Services
	settings.Annotations = map[string]string{
		"example.com/*": "", "example.com/scheme": "internal|none", "metallb.io/pool-*": "blue",
	}
	rules := policy.NewServices(settings)
	for _, test := range []struct {
		reason, key, value string
		passes, warns      bool
	}{
		{reason: "a prefix of the list", key: "example.com/a", value: "x", passes: true},
		{reason: "the whole key wins over a prefix", key: "example.com/scheme", value: "internet-facing"},
		{reason: "the whole value must match", key: "example.com/scheme", value: "internal-not"},
		{reason: "a value that matches", key: "example.com/scheme", value: "none", passes: true},
		{reason: "a known one that is not listed", key: "metallb.io/loadBalancerIPs", value: "192.0.2.10", warns: true},
		{reason: "a known one of a cloud", key: "service.beta.kubernetes.io/aws-load-balancer-scheme", value: "internal", warns: true},
		{reason: "one of tools", key: "meta.helm.sh/release-name", value: "x"},
		{reason: "Kubernetes itself uses it", key: corev1.AnnotationTopologyMode, value: "Auto", passes: true},
	} {
		if got := rules.PassesAnnotation(test.key, test.value); got != test.passes {
			t.Errorf("%s: %s passes: %t", test.reason, test.key, got)
		}
		annotated := service(func(s *corev1.Service) { s.Annotations = map[string]string{test.key: test.value} })
		if got := len(rules.Warnings(nil, annotated)) > 0; got != test.warns {
			t.Errorf("%s: %s warns: %t", test.reason, test.key, got)
		}
		if got := rules.Warnings(annotated, annotated); len(got) > 0 {
			t.Errorf("%s: an unchanged annotation warns again: %v", test.reason, got)
		}
	}
	got := policy.NewServices(v1alpha1.Default().Policies.Services).Warnings(nil,
		service(func(s *corev1.Service) { s.Annotations = map[string]string{"metallb.io/pool": "x"} }))
	want := []string{"annotation metallb.io/pool has no effect: it is not copied to the host, where load balancers would read it. " +
		"The operator of the host can change this with policies.services.annotations."}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the text of a warning (-want +got):\n%s", diff)
	}
}

// TestBalancerClassWarning checks who is told that nothing of the host serves a class.
func TestBalancerClassWarning(t *testing.T) {
	t.Parallel()
	settings := v1alpha1.Default().Policies.Services
	settings.LoadBalancerClasses = []string{"example.com/hosts"}
	settings.TenantLoadBalancerClasses = []string{"example.com/named", "example.com/p*"}
	rules := policy.NewServices(settings)
	of := func(class string) *corev1.Service {
		return service(func(s *corev1.Service) {
			s.Spec.Type, s.Spec.LoadBalancerClass = corev1.ServiceTypeLoadBalancer, &class
		})
	}
	for _, test := range []struct {
		reason string
		old    *corev1.Service
		class  string
		warns  bool
	}{
		{reason: "a load balancer of the host", class: "example.com/hosts"},
		{reason: "the operator knows of the controller", class: "example.com/named"},
		{reason: "nobody knows of a controller", class: "example.com/pool", warns: true},
		{reason: "it was told before", old: of("example.com/pool"), class: "example.com/pool"},
		{reason: "another class", old: of("example.com/pool"), class: "example.com/pools", warns: true},
	} {
		if got := rules.Warnings(test.old, of(test.class)); (len(got) > 0) != test.warns {
			t.Errorf("%s: %q", test.reason, got)
		}
		if got := rules.Check(test.old, of(test.class)); len(got) > 0 {
			t.Errorf("%s: denied with %v", test.reason, got)
		}
	}
}

// TestHealthCheckWarning checks that a tenant is warned once of a port for health checks on which nothing answers.
func TestHealthCheckWarning(t *testing.T) {
	t.Parallel()
	settings := v1alpha1.Default().Policies.Services
	settings.TenantLoadBalancerClasses = []string{"example.com/own"} // The class itself gives no warning then.
	local := service(func(s *corev1.Service) {
		s.Spec.Type, s.Spec.LoadBalancerClass = corev1.ServiceTypeLoadBalancer, new("example.com/own")
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	})
	rules := policy.NewServices(settings)
	if first, again := rules.Warnings(nil, local), rules.Warnings(local, local); len(first) != 1 || len(again) != 0 {
		t.Errorf("warnings %q, then %q", first, again)
	}
}
