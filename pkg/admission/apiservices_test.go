package admission

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// TestAPIServices checks which Services an APIService may name.
func TestAPIServices(t *testing.T) {
	t.Parallel()
	resource := apiregistrationv1.SchemeGroupVersion.WithResource("apiservices")
	texts := map[string]string{}
	for name, c := range map[string]struct {
		reason       string
		external     string // empty for a Service with pods
		none         bool   // without a Service
		hosts, cidrs []string
		denied       bool
	}{
		"local":         {reason: "the API server itself serves it", none: true},
		"pods":          {reason: "a Service of pods is what APIServices are for"},
		"missing":       {reason: "the Service may come later", external: "missing"},
		"name":          {reason: "the control plane connects to no name outside", external: "db.other.svc.cluster.local", denied: true},
		"address":       {reason: "an address is no better", external: "10.96.0.1", denied: true},
		"listed name":   {reason: "the operator has opened it", external: "API.example.com.", hosts: []string{"api.example.com"}},
		"listed range":  {reason: "the operator has opened it", external: "192.0.2.7", cidrs: []string{"192.0.2.0/24"}},
		"other range":   {reason: "the operator has opened another one", external: "192.0.3.7", cidrs: []string{"192.0.2.0/24"}, denied: true},
		"name in range": {reason: "only the dialer knows its address", external: "api.example.com", cidrs: []string{"192.0.2.0/24"}},
	} {
		check := CheckAPIServices(v1alpha1.ControlPlaneEgress{AllowedHosts: c.hosts, AllowedCIDRs: c.cidrs}, func(string, string) (*corev1.Service, error) {
			switch c.external {
			case "missing":
				return nil, errors.New("not found")
			case "":
				return &corev1.Service{}, nil
			}
			return &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: c.external}}, nil
		})
		object := &apiregistrationv1.APIService{Spec: apiregistrationv1.APIServiceSpec{
			Service: &apiregistrationv1.ServiceReference{Namespace: "shop", Name: "api"},
		}}
		if c.none {
			object.Spec.Service = nil
		}
		plugin := Policy(PolicyOptions{Checks: map[schema.GroupResource]PolicyCheck{resource.GroupResource(): check}})
		err := plugin.Validate(t.Context(), admission.NewAttributesRecord(object, nil, schema.GroupVersionKind{}, "", "v1.shop.example.com",
			resource, "", admission.Create, nil, false, nil), nil)
		if (err != nil) != c.denied {
			t.Errorf("%s: %s: denied is %v, want %t", name, c.reason, err, c.denied)
		}
		if err != nil {
			texts[name] = err.Error()
		}
	}
	checkGolden(t, "apiservices.txt", texts)
}
