package egress

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// TestEgress points every feature that connects at the trap.
func TestEgress(t *testing.T) {
	w := newWorld(t)
	for _, tc := range []struct {
		name string
		test func(t *testing.T, w *world)
	}{
		{"PodServes", testPodServes},
		{"WebhookServes", testWebhookServes},
		{"ForgedPod", testForgedPod},
		{"ForgedPodUpgrade", testForgedPodUpgrade},
		{"ForgedEndpoints", testForgedEndpoints},
		{"ForgedNode", testForgedNode},
		{"WebhookURLs", testWebhookURLs},
		{"WebhookService", testWebhookService},
		{"WebhookRedirect", testWebhookRedirect},
		{"ExternalName", testExternalName},
		{"Conversion", testConversion},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := w.reached.Load()
			tc.test(t, w)
			if n := w.reached.Load() - before; n > 0 {
				t.Errorf("the trap was reached %d times", n)
			}
		})
	}
}

func testPodServes(t *testing.T, w *world) {
	eventually(t, "answer of the pod", func() error {
		if got, want := w.get(t, "/api/v1/namespaces/web/pods/https:front:8443/proxy/", false), "hello from the pod"; got != want {
			return fmt.Errorf("got %q, want %q", got, want)
		}
		return nil
	})
}

func testWebhookServes(t *testing.T, w *world) {
	w.makeService(t, "hook", map[string]string{"app": "front"})
	eventually(t, "endpoints", func() error {
		slices, err := w.client.DiscoveryV1().EndpointSlices("web").List(t.Context(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=hook"})
		if err == nil && (len(slices.Items) == 0 || len(slices.Items[0].Endpoints) == 0) {
			err = errors.New("there are none")
		}
		return err
	})
	var text string
	eventually(t, "answer of the webhook", func() error {
		text = w.askWebhook(t, admissionregistrationv1.WebhookClientConfig{
			Service:  &admissionregistrationv1.ServiceReference{Namespace: "web", Name: "hook", Path: new("/admit")},
			CABundle: w.servedCA(),
		})
		if !strings.Contains(text, "asked") && !strings.Contains(text, "x509") {
			return errors.New(text)
		}
		return nil
	})
	// The certificate of the test server is for another name. It was presented by the pod.
	if !strings.Contains(text, "example.com") {
		t.Errorf("got %q, want an answer of the pod", text)
	}
}

func testForgedPod(t *testing.T, w *world) {
	w.makePod(t, "web", "forged", w.outside)
	w.golden(t, "forged-pod", w.get(t, fmt.Sprintf("/api/v1/namespaces/web/pods/https:forged:%d/proxy/version", w.trapPort()), false))
}

func testForgedPodUpgrade(t *testing.T, w *world) {
	w.golden(t, "forged-pod-upgrade", w.get(t, fmt.Sprintf("/api/v1/namespaces/web/pods/http:forged:%d/proxy/", w.trapPort()), true))
}

func testForgedEndpoints(t *testing.T, w *world) {
	forged, err := w.client.CoreV1().Pods("web").Get(t.Context(), "forged", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.makeService(t, "bare", nil)
	w.makeSlice(t, "bare", w.outside, &corev1.ObjectReference{Kind: "Pod", Namespace: "web", Name: "forged", UID: forged.UID})
	eventually(t, "refusal", func() error {
		text := w.get(t, "/api/v1/namespaces/web/services/https:bare:443/proxy/", false)
		if strings.Contains(text, "no endpoints available") {
			return errors.New(text)
		}
		w.golden(t, "forged-endpoints", text)
		return nil
	})
}

func testForgedNode(t *testing.T, w *world) {
	node, err := w.client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "forged"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: w.outside}}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = 10250
	if _, err := w.client.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.golden(t, "forged-node", w.get(t, fmt.Sprintf("/api/v1/nodes/https:forged:%d/proxy/version", w.trapPort()), false))
}

func testWebhookURLs(t *testing.T, w *world) {
	for name, url := range map[string]string{
		"webhook-loopback": "https://" + w.trapAt("127.0.0.1") + "/",
		"webhook-ipv6":     "https://" + w.trapAt("::1") + "/",
		"webhook-mapped":   "https://" + w.trapAt("::ffff:127.0.0.1") + "/",
		"webhook-metadata": "https://169.254.169.254/latest/meta-data",
		"webhook-address":  "https://" + w.trapAt(w.outside) + "/",
		"webhook-name":     "https://" + w.trapAt(loopbackName) + "/",
		"webhook-unknown":  "https://secret.other-tenant.svc.cluster.local/",
		"webhook-local":    "https://" + w.trapAt("localhost") + "/",
	} {
		w.golden(t, name, w.askWebhook(t, admissionregistrationv1.WebhookClientConfig{URL: &url}))
	}
}

func testWebhookService(t *testing.T, w *world) {
	w.makeService(t, "hand-made", nil)
	w.makeSlice(t, "hand-made", w.outside, nil)
	eventually(t, "refusal", func() error {
		text := w.askWebhook(t, admissionregistrationv1.WebhookClientConfig{
			Service: &admissionregistrationv1.ServiceReference{Namespace: "web", Name: "hand-made"},
		})
		if !strings.Contains(text, w.outside) { // The dialer does not know the Service or its endpoint yet.
			return errors.New(text)
		}
		w.golden(t, "webhook-service", text)
		return nil
	})
}

// testWebhookRedirect lets a webhook of the tenant send the API server elsewhere.
func testWebhookRedirect(t *testing.T, w *world) {
	w.redirect.Store(true)
	defer w.redirect.Store(false)
	url := "https://" + podIP + ":8443/admit"
	text := w.askWebhook(t, admissionregistrationv1.WebhookClientConfig{URL: &url, CABundle: w.servedCA()})
	t.Log(text)
	if strings.Contains(text, "asked") {
		t.Errorf("got %q, want an error", text)
	}
}

func testExternalName(t *testing.T, w *world) {
	for name, target := range map[string]string{"apiservice-loopback": "127.0.0.1", "apiservice-address": w.outside, "apiservice-name": loopbackName} {
		service := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: target, Ports: []corev1.ServicePort{{Port: int32(w.trapPort())}}},
		}
		if _, err := w.client.CoreV1().Services("web").Create(t.Context(), service, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		group := name + ".example.com"
		w.create(t, schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}, map[string]any{
			"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": map[string]any{"name": "v1." + group},
			"spec": map[string]any{
				"group": group, "version": "v1", "groupPriorityMinimum": int64(1), "versionPriority": int64(1), "insecureSkipTLSVerify": true,
				"service": map[string]any{"namespace": "web", "name": name, "port": int64(w.trapPort())},
			},
		})
		eventually(t, "condition", func() error {
			object, err := w.dynamic.Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}).
				Get(t.Context(), "v1."+group, metav1.GetOptions{})
			if err != nil {
				return err
			}
			conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
			for _, condition := range conditions {
				if message, _, _ := unstructured.NestedString(condition.(map[string]any), "message"); strings.Contains(message, "not allowed") {
					w.golden(t, name, message)
					return nil
				}
			}
			return fmt.Errorf("no refusal in %v", conditions)
		})
		for _, upgrade := range []bool{false, true} {
			// A tenant can write the condition, so that requests pass for a moment.
			eventually(t, "refusal of a request", func() error {
				w.claimAvailable(t, "v1."+group)
				text := w.get(t, "/apis/"+group+"/v1/things", upgrade)
				if !strings.Contains(text, "not allowed") {
					return errors.New(text)
				}
				w.golden(t, fmt.Sprintf("%s-proxy-%t", name, upgrade), text)
				return nil
			})
		}
	}
}

// claimAvailable writes into the status of an APIService that it is available.
func (w *world) claimAvailable(t *testing.T, name string) {
	t.Helper()
	patch := `{"status":{"conditions":[{"type":"Available","status":"True","reason":"Passed","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`
	_, err := w.dynamic.Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}).
		Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
}

// testConversion stores an object of one version and reads it as another.
func testConversion(t *testing.T, w *world) {
	version := func(name string, stored bool) map[string]any {
		return map[string]any{
			"name": name, "served": true, "storage": stored,
			"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
		}
	}
	w.create(t, schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}, map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "things.shop.example.com"},
		"spec": map[string]any{
			"group": "shop.example.com", "scope": "Namespaced",
			"names":    map[string]any{"plural": "things", "kind": "Thing", "listKind": "ThingList", "singular": "thing"},
			"versions": []any{version("v1", true), version("v2", false)},
			"conversion": map[string]any{"strategy": "Webhook", "webhook": map[string]any{
				"conversionReviewVersions": []any{"v1"},
				"clientConfig":             map[string]any{"url": "https://" + w.trapAt(w.outside) + "/"},
			}},
		},
	})
	thing := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "shop.example.com/v1", "kind": "Thing", "metadata": map[string]any{"name": "one"},
	}}
	things := schema.GroupVersionResource{Group: "shop.example.com", Version: "v1", Resource: "things"}
	eventually(t, "the kind", func() error {
		_, err := w.dynamic.Resource(things).Namespace("web").Create(t.Context(), thing, metav1.CreateOptions{})
		return err
	})
	var err error
	eventually(t, "the second version", func() error { // Each version is served on its own.
		if _, err = w.dynamic.Resource(things.GroupResource().WithVersion("v2")).Namespace("web").Get(t.Context(), "one", metav1.GetOptions{}); apierrors.IsNotFound(err) {
			return err
		}
		return nil
	})
	if err == nil {
		t.Fatal("the object was converted")
	}
	w.golden(t, "conversion", err.Error())
}

// askWebhook registers a webhook for ConfigMaps, creates one, and returns the error.
func (w *world) askWebhook(t *testing.T, target admissionregistrationv1.WebhookClientConfig) string {
	t.Helper()
	hooks := w.client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	// Admission may still know the webhook of an earlier call.
	asked := map[string]string{"ask": strconv.FormatInt(w.asked.Add(1), 10)}
	hook, err := hooks.Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "hook-"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "hook.example.com", ClientConfig: target,
			SideEffects: new(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
			FailurePolicy: new(admissionregistrationv1.Fail), TimeoutSeconds: new(int32(30)),
			ObjectSelector: &metav1.LabelSelector{MatchLabels: asked},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := hooks.Delete(t.Context(), hook.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}()
	var text string
	eventually(t, "webhook", func() error {
		_, err := w.client.CoreV1().ConfigMaps("web").Create(t.Context(), &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "asked-", Labels: asked},
		}, metav1.CreateOptions{})
		if err == nil {
			return errors.New("the webhook is not used yet")
		}
		text = err.Error()
		return nil
	})
	return text
}

func (w *world) makeService(t *testing.T, name string, selector map[string]string) {
	t.Helper()
	_, err := w.client.CoreV1().Services("web").Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{Selector: selector, Ports: []corev1.ServicePort{{
			Name: "https", Port: 443, TargetPort: intstr.FromInt32(8443),
		}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// makeSlice writes the endpoints of a Service by hand.
func (w *world) makeSlice(t *testing.T, service, address string, target *corev1.ObjectReference) {
	t.Helper()
	_, err := w.client.DiscoveryV1().EndpointSlices("web").Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}, TargetRef: target}},
		Ports:       []discoveryv1.EndpointPort{{Name: new("https"), Port: new(int32(w.trapPort()))}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// create makes an object of any kind.
func (w *world) create(t *testing.T, resource schema.GroupVersionResource, object map[string]any) {
	t.Helper()
	_, err := w.dynamic.Resource(resource).Create(t.Context(), &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}
