package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregatorclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/custom"
	"github.com/sublet-dev/sublet/pkg/translate"
	"github.com/sublet-dev/sublet/test/await"
)

// extension is an API server that the host aggregates. What it serves are kinds of
// definitions, of which the host has none.
type extension struct {
	*cluster
	w    *customWorld
	port int32
}

// newExtension starts an API server with a made-up kind. It has no controllers: its garbage collector would delete
// copies, whose owner only the host has.
func newExtension(t *testing.T, w *customWorld, definition *apiextensionsv1.CustomResourceDefinition) *extension {
	t.Helper()
	server, err := startCluster("extension", (*controlplane.ControlPlane).Run, controlplane.Config{})
	if err != nil {
		t.Fatal(err)
	}
	e := &extension{cluster: server, w: w, port: serveOnWire(t, server)}
	if err := server.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}); err != nil {
		t.Fatal(err)
	}
	definitions := apiextensionsclient.NewForConfigOrDie(server.memory()).ApiextensionsV1().CustomResourceDefinitions()
	if _, err := definitions.Create(t.Context(), definition, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.definitions.Delete(stopping, definition.Name, metav1.DeleteOptions{}) })
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "extension"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeExternalName, ExternalName: "localhost",
	}}
	if err := w.host.client.Create(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	return e
}

// newAPIs returns a client of the APIs of the host. It uses the network: no part of the process of an API server reads
// documents of aggregated APIs.
func (w *customWorld) newAPIs(t *testing.T) rest.Interface {
	t.Helper()
	config, _ := w.host.wire(t)
	return apiextensionsclient.NewForConfigOrDie(config).ApiextensionsV1().RESTClient()
}

// serveOnWire serves the API of a server on a port, to everybody.
func serveOnWire(t *testing.T, c *cluster) int32 {
	t.Helper()
	config := c.memory()
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	target, _, err := rest.DefaultServerURL(config.Host, "", schema.GroupVersion{}, true)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewTLSServer(&httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
	})
	t.Cleanup(func() {
		front.CloseClientConnections()
		front.Close()
	})
	address, err := netip.ParseAddrPort(front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return int32(address.Port())
}

// apiServices returns the client of the APIServices of the host.
func (e *extension) apiServices() *aggregatorclient.Clientset {
	return aggregatorclient.NewForConfigOrDie(e.w.host.memory())
}

// register creates the APIService on the host.
func (e *extension) register(t *testing.T) {
	t.Helper()
	_, err := e.apiServices().ApiregistrationV1().APIServices().Create(t.Context(), &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1." + aggregatedGroup},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: aggregatedGroup, Version: "v1", GroupPriorityMinimum: 100, VersionPriority: 10, InsecureSkipTLSVerify: true,
			Service: &apiregistrationv1.ServiceReference{Namespace: e.w.namespace, Name: "extension", Port: &e.port},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// unregister deletes the APIService.
func (e *extension) unregister(t *testing.T) {
	t.Helper()
	err := e.apiServices().ApiregistrationV1().APIServices().Delete(context.WithoutCancel(t.Context()), "v1."+aggregatedGroup, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Error(err)
	}
	// Discovery shows it a little longer. Until then, the controller would create the copied definition again.
	host := discovery.NewDiscoveryClientForConfigOrDie(e.w.host.memory())
	await.Until(t, "the end of the API", func(ctx context.Context) error {
		if err := host.RESTClient().Get().AbsPath("/apis/" + aggregatedGroup).Do(ctx).Error(); !apierrors.IsNotFound(err) {
			return errors.Join(errors.New("it is still served"), err)
		}
		groups, err := host.ServerGroups()
		if err == nil && slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == aggregatedGroup }) {
			err = errors.New("discovery shows it")
		}
		return err
	})
}

// reachable sets whether the host reaches the API, and waits until the host knows.
func (e *extension) reachable(t *testing.T, reachable bool) {
	t.Helper()
	port := e.port
	if !reachable {
		port = 1
	}
	patch := fmt.Sprintf(`{"spec":{"service":{"port":%d}}}`, port)
	services := e.apiServices().ApiregistrationV1().APIServices()
	if _, err := services.Patch(t.Context(), "v1."+aggregatedGroup, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	host := discovery.NewDiscoveryClientForConfigOrDie(e.w.host.memory())
	await.Until(t, fmt.Sprintf("an API that is reachable: %t", reachable), func(ctx context.Context) error {
		err := host.RESTClient().Get().AbsPath("/apis/" + aggregatedGroup + "/v1").Do(ctx).Error()
		if (err == nil) != reachable {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
}

// aggregatedGroup is the group of the kind that an aggregated API serves.
const aggregatedGroup = "aggregated.example.com"

// gauge returns an object of that kind.
func gauge(w *customWorld, name string, spec map[string]any) *unstructured.Unstructured {
	u := customObject("Gauge", w.namespace, name, spec)
	u.SetAPIVersion(aggregatedGroup + "/v1")
	return u
}

// reports waits until the check of the only kind has a reason, empty for none.
func (w *customWorld) reports(t *testing.T, reason string) {
	t.Helper()
	await.Until(t, "the reason "+reason, func(context.Context) error {
		checks := w.controller.Checks()
		if len(checks) != 1 || checks[0].Healthy != (reason == "") || !strings.Contains(strings.Join(checks[0].Details, ""), reason) {
			return fmt.Errorf("got %+v", checks)
		}
		return nil
	})
}

// TestAggregatedAPI syncs a kind that an aggregated API of the host serves: it comes, is away
// for a while, and goes.
func TestAggregatedAPI(t *testing.T) {
	resource := "gauges." + aggregatedGroup
	settings := v1alpha1.Sync{ToHost: v1alpha1.ToHost{CustomResources: map[string]v1alpha1.CustomResource{resource: {Enabled: true}}}}
	w := newPollingWorld(t, settings, 100*time.Millisecond)
	definition := makeDefinition(t, "gauges", "Gauge", apiextensionsv1.NamespaceScoped)
	definition.Name, definition.Spec.Group, definition.Spec.Names.ShortNames = resource, aggregatedGroup, []string{"gg"}
	e := newExtension(t, w, definition)
	w.reports(t, "the host has no definition of that name, and no aggregated API serves the kind")
	e.register(t)
	t.Cleanup(func() { e.unregister(t) })
	w.reports(t, "")

	ctx := t.Context()
	w.virtual.createServed(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "keys"}})
	one := gauge(w, "one", map[string]any{"size": int64(1), "secretName": "keys"})
	w.virtual.createServed(t, one)
	secretKey := translate.Derived(custom.Role(resource))(w.cluster, w.virtualKey("keys"))
	copied := w.host.awaitObject(t, one, w.hostKey("one"), func(u *unstructured.Unstructured) bool {
		return nested(u, "spec", "size") == int64(1) && nested(u, "spec", "secretName") == secretKey.Name
	})
	await.Until(t, "the copy of the Secret", func(ctx context.Context) error { return w.host.client.Get(ctx, secretKey, &corev1.Secret{}) })
	if err := w.host.client.Status().Patch(ctx, copied, client.RawPatch("application/merge-patch+json", []byte(`{"status":{"phase":"Ready"}}`))); err != nil {
		t.Fatal(err)
	}
	ready := func(u *unstructured.Unstructured) bool { return nested(u, "status", "phase") == "Ready" }
	w.virtual.awaitObject(t, one, w.virtualKey("one"), ready)
	w.checkSchema(t)

	e.reachable(t, false)
	w.reports(t, "the host's API of the kind is not available")
	two := gauge(w, "two", map[string]any{"size": int64(2)})
	if err := w.virtual.client.Create(ctx, two); err != nil {
		t.Errorf("the kind must stay while its server is away: %v", err)
	}
	e.reachable(t, true)
	w.reports(t, "")
	w.host.awaitObject(t, two, w.hostKey("two"), func(u *unstructured.Unstructured) bool { return nested(u, "spec", "size") == int64(2) })
	if again := w.virtual.awaitObject(t, one, w.virtualKey("one"), ready); again.GetUID() != one.GetUID() {
		t.Error("the object was deleted while the server was away")
	}

	e.unregister(t)
	w.reports(t, "the host has no definition of that name, and no aggregated API serves the kind")
	w.virtual.awaitObject(t, one, w.virtualKey("one"), ready)
	e.register(t)
	w.reports(t, "")
	if err := w.virtual.client.Delete(ctx, one); err != nil {
		t.Fatal(err)
	}
	w.isGone(t, gauge(w, "", nil), w.hostKey("one"))
}

// checkSchema looks at what the tenant's API server knows of the kind.
func (w *customWorld) checkSchema(t *testing.T) {
	t.Helper()
	strict := client.WithFieldValidation(w.virtual.client, metav1.FieldValidationStrict)
	for want, spec := range map[string]map[string]any{
		`unknown field "spec.colour"`: {"colour": "red"},
		"must be of type integer":     {"size": "large"},
	} {
		if err := strict.Create(t.Context(), gauge(w, "wrong", spec)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	plan, err := w.synced.Plan("gauges." + aggregatedGroup)
	if err != nil {
		t.Fatal(err)
	}
	if problems := plan.Check(map[string]any{"spec": map[string]any{"peerRef": map[string]any{"name": "x"}}}, w.namespace); len(problems) != 1 {
		t.Errorf("a reference without a rule: got %v, want one problem", problems)
	}
	found, err := w.definitions.Get(t.Context(), "gauges."+aggregatedGroup, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if names := found.Spec.Names; names.Singular != "gauge" || len(names.ShortNames) != 1 || found.Spec.Versions[0].Subresources.Status == nil {
		t.Errorf("the definition is %+v", found.Spec)
	}
}

// TestSchemasOfGoTypes makes definitions of all kinds that are built in. Their documents have
// the form that those of aggregated APIs have.
func TestSchemasOfGoTypes(t *testing.T) {
	c, err := both()
	if err != nil {
		t.Fatal(err)
	}
	host := discovery.NewDiscoveryClientForConfigOrDie(c.host.memory())
	definitions := apiextensionsclient.NewForConfigOrDie(c.virtual.memory()).ApiextensionsV1().CustomResourceDefinitions()
	_, lists, err := host.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		path := "/openapi/v3/apis/" + list.GroupVersion
		if version.Group == "" {
			path = "/openapi/v3/api/" + list.GroupVersion
		}
		document, err := host.RESTClient().Get().AbsPath(path).SetHeader("Accept", "application/json").DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.APIResources {
			if strings.Contains(r.Name, "/") || !slices.Contains(r.Verbs, "watch") {
				continue
			}
			made++
			content, err := custom.FromOpenAPI(document, version.WithKind(r.Kind), made%2 == 0)
			if err != nil {
				t.Errorf("%s: %v", r.Kind, err)
				continue
			}
			d := makeDefinition(t, r.Name, r.Kind, apiextensionsv1.NamespaceScoped)
			d.Spec.Versions[0].Schema.OpenAPIV3Schema = content
			created, err := definitions.Create(t.Context(), d, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if err != nil {
				t.Errorf("%s: %v", r.Kind, err)
				continue
			}
			// Another form would be written again and again.
			if got := created.Spec.Versions[0].Schema.OpenAPIV3Schema; !apiequality.Semantic.DeepEqual(got, content) {
				t.Errorf("%s: the API server has another schema: %s", r.Kind, cmp.Diff(content, got))
			}
		}
	}
	if made < 40 {
		t.Errorf("only %d kinds", made)
	}
}
