package controlplane

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/component-base/metrics/legacyregistry"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// chosen is in the names that the tenant of [TestMetricsHaveNoNamesOfTenants] chooses.
const chosen = "tenantschoice"

// namedObjects returns objects of the kinds whose names upstream's metrics have, by resource.
func namedObjects() map[schema.GroupVersionResource]string {
	admission := schema.GroupVersion{Group: "admissionregistration.k8s.io", Version: "v1"}
	flow := schema.GroupVersion{Group: "flowcontrol.apiserver.k8s.io", Version: "v1"}
	const rules = `[{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]`
	return map[schema.GroupVersionResource]string{
		admission.WithResource("validatingwebhookconfigurations"): `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: tenantschoice}
webhooks:
- name: tenantschoice.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Ignore
  clientConfig: {service: {name: tenantschoice, namespace: default}}
  matchConditions: [{name: tenantschoice, expression: "object.metadata.name != 'other'"}]
  rules: ` + rules,
		admission.WithResource("validatingadmissionpolicies"): `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: tenantschoice}
spec:
  matchConstraints: {resourceRules: ` + rules + `}
  validations: [{expression: "object.metadata.name != 'tenantschoice'"}]`,
		admission.WithResource("validatingadmissionpolicybindings"): `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: tenantschoice}
spec: {policyName: tenantschoice, validationActions: [Audit]}`, // A denial would precede the webhook.
		flow.WithResource("prioritylevelconfigurations"): `
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: tenantschoice}
spec: {type: Limited, limited: {nominalConcurrencyShares: 1, limitResponse: {type: Reject}}}`,
		flow.WithResource("flowschemas"): `
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: tenantschoice}
spec:
  priorityLevelConfiguration: {name: tenantschoice}
  matchingPrecedence: 2
  rules:
  - subjects: [{kind: User, user: {name: tenantschoice}}]
    resourceRules: [{verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: ["*"], clusterScope: true}]`,
	}
}

// TestMetricsHaveNoNamesOfTenants creates objects of all kinds whose names upstream has in labels, uses them and deletes
// them. No series may stay.
func TestMetricsHaveNoNamesOfTenants(t *testing.T) {
	t.Parallel()
	p := startPlane(t, Config{})
	client := dynamic.NewForConfigOrDie(p.kubeconfig(t, "admin", pki.GroupAdmins))
	for resource, text := range namedObjects() {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Resource(resource).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	storeDefinition(t, p, definition(chosen+".example.com", chosen, "Choice"))
	p.useChosen(t, client)
	for resource := range namedObjects() {
		if err := client.Resource(resource).Delete(t.Context(), chosen, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	crds := definitions(t, p).ApiextensionsV1().CustomResourceDefinitions()
	if err := crds.Delete(t.Context(), chosen+"."+chosen+".example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "metrics without names of the tenant", func(context.Context) string {
		named, _ := seriesWith(t, chosen)
		return strings.Join(named, " ")
	})
}

// useChosen sends requests for the named objects until each counted.
func (p *plane) useChosen(t *testing.T, client dynamic.Interface) {
	t.Helper()
	custom := client.Resource(schema.GroupVersionResource{Group: chosen + ".example.com", Version: "v1", Resource: chosen}).Namespace("default")
	maps := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace("default")
	user := discovery.NewDiscoveryClientForConfigOrDie(p.kubeconfig(t, chosen)).RESTClient()
	object := func(version, kind, name string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": version, "kind": kind, "metadata": map[string]any{"name": name}}}
	}
	eventually(t, "metrics of the objects", func(ctx context.Context) string {
		_, _ = custom.Create(ctx, object(chosen+".example.com/v1", "Choice", "one"), metav1.CreateOptions{})
		_, _ = custom.Patch(ctx, "one", types.MergePatchType, []byte(`{"spec":{"a":"b"}}`), metav1.PatchOptions{})
		_, _ = custom.List(ctx, metav1.ListOptions{})
		_ = custom.Delete(ctx, "one", metav1.DeleteOptions{})
		_, _ = maps.Create(ctx, object("v1", "ConfigMap", chosen), metav1.CreateOptions{})
		_, _ = user.Get().AbsPath("/apis/" + chosen + ".unknown/v1/namespaces/default/" + chosen).DoRaw(ctx)
		_, counted := seriesWith(t, "unexpected")
		for _, metric := range []string{
			"apiserver_request_total", "etcd_request_duration_seconds", "apiserver_admission_webhook_admission_duration_seconds",
			"apiserver_validating_admission_policy_check_total", "apiserver_flowcontrol_dispatched_requests_total",
		} {
			if !slices.Contains(counted, metric) {
				return "not yet in " + metric
			}
		}
		return ""
	})
}

// seriesWith returns the series with a text in a label, and the names of their metrics.
func seriesWith(t *testing.T, text string) (series, metrics []string) {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if strings.Contains(label.GetValue(), text) {
					series = append(series, fmt.Sprintf("%s{%s=%q}", family.GetName(), label.GetName(), label.GetValue()))
					metrics = append(metrics, family.GetName())
				}
			}
		}
	}
	return series, metrics
}

// TestBuiltInNamesAreAllowed holds that metrics of built-in resources keep their labels.
func TestBuiltInNamesAreAllowed(t *testing.T) {
	t.Parallel()
	p := startPlane(t, Config{})
	_, lists, err := p.client.Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	groups, versions, resources := builtInNames()
	for _, list := range lists {
		served, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(groups, served.Group) || !slices.Contains(versions, served.Version) {
			t.Errorf("%s is missing", list.GroupVersion)
		}
		for _, resource := range list.APIResources {
			name, subresource, isSubresource := strings.Cut(resource.Name, "/")
			if !slices.Contains(resources, name) {
				t.Errorf("%s of %s is missing", name, list.GroupVersion)
			}
			if isSubresource && !slices.Contains(subresources(), subresource) {
				t.Errorf("subresource %s is missing", resource.Name)
			}
		}
	}
}
