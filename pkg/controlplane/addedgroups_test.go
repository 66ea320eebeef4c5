package controlplane

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/fake"

	"github.com/sublet-dev/sublet/api/labels"
)

// TestAddedGroups reconciles the APIServices that an earlier start or a tenant left.
func TestAddedGroups(t *testing.T) {
	t.Parallel()
	version := schema.GroupVersion{Group: "metrics.k8s.io", Version: "v1beta1"}
	other := schema.GroupVersion{Group: "other.example.com", Version: "v1"}
	ofTenant := func(version schema.GroupVersion, labels map[string]string) *apiregistrationv1.APIService {
		service := addedService(version)
		service.Labels = labels
		service.Spec.Service = &apiregistrationv1.ServiceReference{Namespace: "kube-system", Name: "metrics-server"}
		service.Spec.InsecureSkipTLSVerify = true
		return service
	}
	cases := map[string]struct {
		reason string
		added  addedGroups
		stored []*apiregistrationv1.APIService
		want   []string // "NAME local" or "NAME served by SERVICE"
	}{
		"New":         {"The first start creates it.", addedGroups{version}, nil, []string{"v1beta1.metrics.k8s.io local"}},
		"Restart":     {"A further start keeps it.", addedGroups{version}, []*apiregistrationv1.APIService{addedService(version)}, []string{"v1beta1.metrics.k8s.io local"}},
		"TakenBack":   {"The tenant had a metrics server before the operator turned it on.", addedGroups{version}, []*apiregistrationv1.APIService{ofTenant(version, nil)}, []string{"v1beta1.metrics.k8s.io local"}},
		"Managed":     {"Upstream would delete one with its label.", addedGroups{version}, []*apiregistrationv1.APIService{ofTenant(version, map[string]string{"kube-aggregator.kubernetes.io/automanaged": "true"})}, []string{"v1beta1.metrics.k8s.io local"}},
		"Off":         {"Turned off, the group is the tenant's to serve.", nil, []*apiregistrationv1.APIService{addedService(version)}, nil},
		"TenantsOwn":  {"A tenant's own server stays.", nil, []*apiregistrationv1.APIService{ofTenant(version, nil)}, []string{"v1beta1.metrics.k8s.io served by metrics-server"}},
		"TakenOver":   {"A tenant gave ours a server after it was turned off.", nil, []*apiregistrationv1.APIService{ofTenant(version, map[string]string{labels.AddedGroup: "true"})}, []string{"v1beta1.metrics.k8s.io served by metrics-server"}},
		"OtherGroups": {"Other groups are left alone.", addedGroups{version}, []*apiregistrationv1.APIService{ofTenant(other, nil)}, []string{"v1.other.example.com served by metrics-server", "v1beta1.metrics.k8s.io local"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stored []runtime.Object
			var all []apiregistrationv1.APIService
			for _, service := range tc.stored {
				stored, all = append(stored, service), append(all, *service)
			}
			api := fake.NewSimpleClientset(stored...).ApiregistrationV1().APIServices()
			if err := tc.added.reconcile(t.Context(), api, all); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, showServices(t, api.List)); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

// showServices returns who serves each APIService, sorted.
func showServices(t *testing.T, list func(context.Context, metav1.ListOptions) (*apiregistrationv1.APIServiceList, error)) []string {
	t.Helper()
	all, err := list(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, service := range all.Items {
		if service.Spec.Service != nil {
			shown = append(shown, service.Name+" served by "+service.Spec.Service.Name)
			continue
		}
		if label := service.Labels["kube-aggregator.kubernetes.io/automanaged"]; label != "" {
			t.Errorf("%s has upstream's label, which deletes it", service.Name)
		}
		shown = append(shown, service.Name+" local")
	}
	slices.Sort(shown)
	return shown
}
