package kinds

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/policy"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// TestBalancerStatusHasOneOwner checks who writes the status of a load balancer.
func TestBalancerStatusHasOneOwner(t *testing.T) {
	t.Parallel()
	status := func(ip string) corev1.ServiceStatus {
		if ip == "" {
			return corev1.ServiceStatus{}
		}
		return corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: ip}}}}
	}
	settings := v1alpha1.ServicePolicy{
		LoadBalancerClasses:       []string{"example.com/hosts", "example.com/both"},
		TenantLoadBalancerClasses: []string{"example.com/tenants", "example.com/both"},
	}
	for name, tc := range map[string]struct {
		reason      string
		kind        corev1.ServiceType
		class       *string
		host, after string
	}{
		"Tenants":   {reason: "the tenant's controller has written it", class: new("example.com/tenants"), after: "192.0.2.20"},
		"NotHosts":  {reason: "a host that serves the class all the same", class: new("example.com/tenants"), host: "192.0.2.1", after: "192.0.2.20"},
		"Hosts":     {reason: "a class of the host", class: new("example.com/hosts"), host: "192.0.2.1", after: "192.0.2.1"},
		"HostsGone": {reason: "a balancer of the host that is gone", class: new("example.com/hosts")},
		"Both":      {reason: "a class of both is the host's", class: new("example.com/both"), host: "192.0.2.1", after: "192.0.2.1"},
		"Default":   {reason: "no class is the host's", host: "192.0.2.1", after: "192.0.2.1"},
		"NodePort":  {reason: "no load balancer", kind: corev1.ServiceTypeNodePort},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resource := Services(Options{Services: policy.NewServices(settings)})
			virtual := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: tc.class}, Status: status("192.0.2.20")}
			if tc.kind != "" {
				virtual.Spec.Type = tc.kind
			}
			host := &corev1.Service{Spec: virtual.Spec, Status: status(tc.host)}
			if err := resource.Up(syncer.Scope{}, host, virtual); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(status(tc.after), virtual.Status); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tc.reason, diff)
			}
		})
	}
}

// TestConditionsOfTenantStay checks that a controller of the tenant keeps its conditions of a Service without a load balancer.
func TestConditionsOfTenantStay(t *testing.T) {
	t.Parallel()
	mine := []metav1.Condition{{Type: "example.com/Ready", Status: metav1.ConditionTrue}}
	virtual := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP}, Status: corev1.ServiceStatus{Conditions: mine}}
	if err := Services(Options{}).Up(syncer.Scope{}, &corev1.Service{Spec: virtual.Spec}, virtual); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(mine, virtual.Status.Conditions); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
}

// TestHeadlessCopyStaysHeadless checks that a Service with an address never gets a headless copy of an earlier one.
func TestHeadlessCopyStaysHeadless(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason        string
		virtual, host string // cluster IPs
		invalid       bool
	}{
		"New":         {reason: "the host assigns the address"},
		"Address":     {reason: "the copy has its address", host: "10.96.3.4"},
		"Headless":    {reason: "both are headless", virtual: corev1.ClusterIPNone, host: corev1.ClusterIPNone},
		"LeftOver":    {reason: "the copy of an earlier Service is headless", host: corev1.ClusterIPNone, invalid: true},
		"OtherBefore": {reason: "the same with a certain address", virtual: "10.96.3.4", host: corev1.ClusterIPNone, invalid: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: tc.virtual, Selector: map[string]string{"app": "web"}}}
			host := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: tc.host}}
			err := Services(testOptions()).Down(syncer.Scope{Cluster: testCluster()}, virtual, host)
			if apierrors.IsInvalid(err) != tc.invalid || !tc.invalid && err != nil {
				t.Errorf("%s: %v", tc.reason, err)
			}
		})
	}
}
