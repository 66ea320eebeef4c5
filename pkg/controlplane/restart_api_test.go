package controlplane

import (
	"context"
	"fmt"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregatorclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// aggregation returns a client of APIServices, as the tenant.
func aggregation(t *testing.T, p *plane) *aggregatorclient.Clientset {
	t.Helper()
	client, err := aggregatorclient.NewForConfig(p.kubeconfig(t, "admin", pki.GroupAdmins))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// storeDeadAPIServices stores APIServices whose server does not answer: one that many
// clusters have, and one whose group comes before all others in discovery.
func storeDeadAPIServices(t *testing.T, p *plane) {
	t.Helper()
	for _, group := range []string{"metrics.k8s.io", "first.example.com"} {
		_, err := aggregation(t, p).ApiregistrationV1().APIServices().Create(t.Context(), &apiregistrationv1.APIService{
			ObjectMeta: metav1.ObjectMeta{Name: "v1beta1." + group},
			Spec: apiregistrationv1.APIServiceSpec{
				Group: group, Version: "v1beta1", GroupPriorityMinimum: 20000, VersionPriority: 1000,
				Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: "gone"}, InsecureSkipTLSVerify: true,
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// shadowBuiltins points the APIService of each group to a server that is gone, as a
// store from elsewhere may have it. Without the label, upstream leaves it like that.
func shadowBuiltins(t *testing.T, p *plane) {
	t.Helper()
	p.server.Load().builtin.set.Store(nil) // otherwise it is denied
	api := aggregation(t, p).ApiregistrationV1().APIServices()
	list, err := api.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	shadowed := map[string]bool{}
	for _, service := range list.Items {
		if service.Spec.Group == apiregistrationv1.GroupName {
			continue // aggregation itself, which nobody can shadow
		}
		shadowed[service.Name] = true
		// A controller writes the status at the same time, so an update could be a conflict.
		patch := `{"metadata":{"labels":null},"spec":{"service":{"namespace":"default","name":"gone"},"insecureSkipTLSVerify":true}}`
		if _, err := api.Patch(t.Context(), service.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"v1.", "v1.apps", "v1.rbac.authorization.k8s.io", "v1.apiextensions.k8s.io"} {
		if !shadowed[want] {
			t.Errorf("there is no APIService %s to shadow", want)
		}
	}
	outside := clientOf(t, p.kubeconfig(t, "admin", pki.GroupAdmins))
	eventually(t, "shadowed API", func(ctx context.Context) string {
		if _, err := outside.CoreV1().Namespaces().List(ctx, metav1.ListOptions{}); !apierrors.IsServiceUnavailable(err) {
			return fmt.Sprintf("the tenant's namespaces: got %v, want that the service is unavailable", err)
		}
		return ""
	})
}

// definitions returns a client of custom resource definitions.
func definitions(t *testing.T, p *plane) *apiextensionsclient.Clientset {
	t.Helper()
	client, err := apiextensionsclient.NewForConfig(p.ClientConfig("admin", pki.GroupAdmins))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// definition returns a definition of a custom resource with two versions.
func definition(group, plural, kind string) *apiextensionsv1.CustomResourceDefinition {
	preserve := true
	version := func(name string, stored bool) apiextensionsv1.CustomResourceDefinitionVersion {
		return apiextensionsv1.CustomResourceDefinitionVersion{
			Name: name, Served: true, Storage: stored,
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
				Type: "object", XPreserveUnknownFields: &preserve,
			}},
		}
	}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{
			Name: plural + "." + group, Annotations: map[string]string{apiextensionsv1.KubeAPIApprovedAnnotation: "unapproved, a test"},
		},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: group, Scope: apiextensionsv1.NamespaceScoped,
			Names:    apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Kind: kind, ListKind: kind + "List"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{version("v1", true), version("v2", false)},
		},
	}
}

// storeDefinition creates a definition.
func storeDefinition(t *testing.T, p *plane, crd *apiextensionsv1.CustomResourceDefinition) {
	t.Helper()
	if _, err := definitions(t, p).ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), crd, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// storeBrokenConversion stores a custom resource in a version that only a webhook can
// convert, which is gone.
func storeBrokenConversion(t *testing.T, p *plane) {
	t.Helper()
	crd := definition("example.com", "widgets", "Widget")
	storeDefinition(t, p, crd)
	client, err := dynamic.NewForConfig(p.kubeconfig(t, "admin", pki.GroupAdmins))
	if err != nil {
		t.Fatal(err)
	}
	widgets := client.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}).Namespace("default")
	eventually(t, "widget", func(ctx context.Context) string {
		_, err := widgets.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "example.com/v1", "kind": "Widget", "metadata": map[string]any{"name": "one"},
		}}, metav1.CreateOptions{})
		if err != nil {
			return err.Error()
		}
		return ""
	})
	eventually(t, "conversion", func(ctx context.Context) string {
		api := definitions(t, p).ApiextensionsV1().CustomResourceDefinitions()
		current, err := api.Get(ctx, crd.Name, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		current.Spec.Versions[0].Storage, current.Spec.Versions[1].Storage = false, true
		current.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{
			Strategy: apiextensionsv1.WebhookConverter,
			Webhook: &apiextensionsv1.WebhookConversion{
				ClientConfig:             &apiextensionsv1.WebhookClientConfig{Service: &apiextensionsv1.ServiceReference{Namespace: "default", Name: "gone"}},
				ConversionReviewVersions: []string{"v1"},
			},
		}
		if _, err := api.Update(ctx, current, metav1.UpdateOptions{}); err != nil {
			return err.Error()
		}
		return ""
	})
}

// storeShadowingDefinitions stores custom resources with names of built-in ones, in
// groups of the tenant's and in built-in groups.
func storeShadowingDefinitions(t *testing.T, p *plane) {
	t.Helper()
	for _, crd := range []*apiextensionsv1.CustomResourceDefinition{
		definition("example.com", "namespaces", "Namespace"),
		definition("example.com", "pods", "Pod"),
		definition("rbac.authorization.k8s.io", "clusterroles", "ClusterRole"),
		definition("scheduling.k8s.io", "priorityclasses", "PriorityClass"),
	} {
		storeDefinition(t, p, crd)
	}
}

// TestBuiltinsAreNotAggregated tries to have another server serve built-in groups.
func TestBuiltinsAreNotAggregated(t *testing.T) {
	t.Parallel()
	p := startPlane(t, Config{SyncedGroups: []string{"synced.example.com"}})
	api := aggregation(t, p).ApiregistrationV1().APIServices()
	create := func(group, version string) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			_, err := api.Create(ctx, &apiregistrationv1.APIService{
				ObjectMeta: metav1.ObjectMeta{Name: version + "." + group},
				Spec: apiregistrationv1.APIServiceSpec{
					Group: group, Version: version, GroupPriorityMinimum: 100, VersionPriority: 100,
					Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: "mine"}, InsecureSkipTLSVerify: true,
				},
			}, metav1.CreateOptions{})
			return err
		}
	}
	patch := func(name, patch string) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			_, err := api.Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
			return err
		}
	}
	const builtIn = "are built in, and only"
	const take = `{"metadata":{"labels":null},"spec":{"service":{"namespace":"default","name":"mine"},"insecureSkipTLSVerify":true}}`
	cases := map[string]struct {
		reason string
		write  func(ctx context.Context) error
		denied string
	}{
		"CreateCore":     {"the server would see each pod that the syncer reads", create("", "v1"), builtIn},
		"CreateApps":     {"so it would each Deployment", create("apps", "v1"), builtIn},
		"PatchCore":      {"an update does the same", patch("v1.", take), builtIn},
		"PatchResources": {"custom resource definitions are built in, too", patch("v1.apiextensions.k8s.io", take), builtIn},
		"Synced":         {"the server would make up what the host shows", create("synced.example.com", "v1"), "are synced with the host"},
		"Label":          {"a change without a server is the tenant's", patch("v1.batch", `{"metadata":{"labels":{"mine":"yes"}}}`), ""},
		"OtherVersion":   {"nobody in the process reads a version that is not built in", create("apps", "v7"), ""},
		"OwnGroup":       {"aggregation is for groups of the tenant's", create("example.com", "v1"), ""},
		"Metrics":        {"and for the groups of well-known servers", create("metrics.k8s.io", "v1beta1"), ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tc.write(t.Context())
			switch {
			case tc.denied != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), tc.denied)):
				t.Errorf("%s: got %v, want a denial with %q", tc.reason, err, tc.denied)
			case tc.denied == "" && err != nil:
				t.Errorf("%s: got %v, want no error", tc.reason, err)
			}
		})
	}
}

func TestParseRoot(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/api/v1": "v1", "/apis/apps/v1": "apps/v1", "/apis/apps": "", "/api": "", "/version": "", "/apis": "", "/": "",
	} {
		got, ok := parseRoot(path)
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s: got %q, %v, want %q", path, got, ok, want)
		}
	}
}
