package kubelets

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/wait"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/kubernetes"
	hostrest "k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregatorclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
	"k8s.io/metrics/pkg/apis/metrics"
	"k8s.io/metrics/pkg/apis/metrics/install"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"

	"github.com/sublet-dev/sublet/pkg/controlplane"
)

// testMetrics uses the metrics API of the virtual cluster as its clients do.
func testMetrics(t *testing.T, w *world) {
	// Autoscalers speak protobuf.
	config := hostrest.CopyConfig(w.config)
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf
	client := metricsclient.NewForConfigOrDie(config).MetricsV1beta1()
	pods, err := client.PodMetricses("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, pod := range pods.Items {
		for _, c := range pod.Containers {
			got = append(got, pod.Namespace+"/"+pod.Name+" "+c.Name+" "+c.Usage.Cpu().String())
		}
	}
	slices.Sort(got)
	want := []string{virtualNamespace + "/on-new-node " + container + " 100m", virtualNamespace + "/on-old-node " + container + " 100m"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the tenant's pods and containers, and no others\n-want, +got:\n%s", diff)
	}
	if _, err := client.PodMetricses(release().Namespace).Get(t.Context(), hostName("on-old-node").Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("Get by the host's name: %v, want not found", err)
	}
	node, err := client.NodeMetricses().Get(t.Context(), "old", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if cpu := node.Usage.Cpu().String(); cpu != "100m" {
		t.Errorf("the node is used with %s, want that of its one measured pod, 100m", cpu)
	}
	t.Run("Discovery", func(t *testing.T) { testMetricsDiscovery(t, w.config) })
	t.Run("Table", func(t *testing.T) { testMetricsTable(t, w.client) })
	t.Run("APIService", func(t *testing.T) { testOwnAPIService(t, w.config) })
	t.Run("Viewers", func(t *testing.T) { testViewers(t, w.client) })
}

// testMetricsDiscovery finds the group in the ways of old and new clients, with its types.
func testMetricsDiscovery(t *testing.T, config *hostrest.Config) {
	for name, legacy := range map[string]bool{"Aggregated": false, "Legacy": true} {
		t.Run(name, func(t *testing.T) {
			client := discovery.NewDiscoveryClientForConfigOrDie(config)
			client.UseLegacyDiscovery = legacy
			_, lists, err := client.ServerGroupsAndResources()
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(lists, func(l *metav1.APIResourceList) bool { return l.GroupVersion == "metrics.k8s.io/v1beta1" })
			if i < 0 {
				t.Fatal("the group is not there")
			}
			var got []string
			for _, r := range lists[i].APIResources {
				got = append(got, r.Name+" "+r.Kind+" "+strings.Join(r.Verbs, ","))
			}
			slices.Sort(got)
			if diff := cmp.Diff([]string{"nodes NodeMetrics get,list", "pods PodMetrics get,list"}, got); diff != "" {
				t.Errorf("-want, +got:\n%s", diff)
			}
		})
	}
	text, err := discovery.NewDiscoveryClientForConfigOrDie(config).RESTClient().Get().
		AbsPath("/openapi/v3/apis/metrics.k8s.io/v1beta1").DoRaw(t.Context())
	if err != nil || !strings.Contains(string(text), `"kind":"PodMetrics"`) {
		t.Errorf("kubectl explain does not find PodMetrics in %d bytes: %v", len(text), err)
	}
}

// testMetricsTable reads the table of kubectl get.
func testMetricsTable(t *testing.T, client kubernetes.Interface) {
	text, err := client.Discovery().RESTClient().Get().
		AbsPath("/apis/metrics.k8s.io/v1beta1/namespaces/"+virtualNamespace+"/pods").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"kind":"Table"`, `"cells":["on-old-node","100m","64Mi","15s"]`, `"name":"cpu"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in the table:\n%s", want, text)
		}
	}
}

// testOwnAPIService lets a tenant try to serve the group themselves.
func testOwnAPIService(t *testing.T, config *hostrest.Config) {
	api := aggregatorclient.NewForConfigOrDie(config).ApiregistrationV1().APIServices()
	service, err := api.Get(t.Context(), "v1beta1.metrics.k8s.io", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if service.Spec.Service != nil {
		t.Errorf("the group is served by %v, want the API server itself", service.Spec.Service)
	}
	service.Spec.Service = &apiregistrationv1.ServiceReference{Namespace: "kube-system", Name: "metrics-server"}
	service.Spec.InsecureSkipTLSVerify = true
	_, err = api.Update(t.Context(), service, metav1.UpdateOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "ask the operator to turn that off") {
		t.Errorf("an APIService of the tenant's own: %v, want that it is denied, with what to do", err)
	}
}

// testViewers checks that who may view a namespace may view the usage of its pods.
func testViewers(t *testing.T, client kubernetes.Interface) {
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		role, err := client.RbacV1().ClusterRoles().Get(ctx, "view", metav1.GetOptions{})
		return err == nil && slices.ContainsFunc(role.Rules, func(rule rbacv1.PolicyRule) bool {
			return slices.Contains(rule.APIGroups, "metrics.k8s.io")
		}), err
	})
	if err != nil {
		t.Errorf("the role view gets no rule for metrics.k8s.io: %v", err)
	}
}

// hostMetrics is the metrics API of the host: each of its pods uses the same.
type hostMetrics struct {
	client atomic.Pointer[kubernetes.Clientset]
}

var (
	_ rest.Lister               = &hostMetrics{}
	_ rest.Storage              = &hostMetrics{}
	_ rest.Scoper               = &hostMetrics{}
	_ rest.SingularNameProvider = &hostMetrics{}
)

// group returns the API group, for the host's API server.
func (h *hostMetrics) group() *controlplane.Group {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	group := genericapiserver.NewDefaultAPIGroupInfo(metrics.GroupName, scheme, metav1.ParameterCodec, serializer.NewCodecFactory(scheme))
	group.PrioritizedVersions = []schema.GroupVersion{{Group: metrics.GroupName, Version: "v1beta1"}}
	group.VersionedResourcesStorageMap["v1beta1"] = map[string]rest.Storage{"pods": h}
	return &group
}

// List implements rest.Lister.
func (h *hostMetrics) List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	pods, err := h.client.Load().CoreV1().Pods(genericapirequest.NamespaceValue(ctx)).
		List(ctx, metav1.ListOptions{LabelSelector: options.LabelSelector.String()})
	if err != nil {
		return nil, err
	}
	list := &metrics.PodMetricsList{}
	for _, pod := range pods.Items {
		item := metrics.PodMetrics{
			ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, Labels: pod.Labels},
			Timestamp:  metav1.Now(), Window: metav1.Duration{Duration: 15 * time.Second},
		}
		for _, c := range pod.Spec.Containers {
			item.Containers = append(item.Containers, metrics.ContainerMetrics{Name: c.Name, Usage: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
			}})
		}
		list.Items = append(list.Items, item)
	}
	return list, nil
}

// New implements rest.Storage.
func (*hostMetrics) New() runtime.Object { return &metrics.PodMetrics{} }

// NewList implements rest.Lister.
func (*hostMetrics) NewList() runtime.Object { return &metrics.PodMetricsList{} }

// Destroy implements rest.Storage.
func (*hostMetrics) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (*hostMetrics) NamespaceScoped() bool { return true }

// GetSingularName implements rest.SingularNameProvider.
func (*hostMetrics) GetSingularName() string { return "" }

// ConvertToTable implements rest.TableConvertor.
func (*hostMetrics) ConvertToTable(context.Context, runtime.Object, runtime.Object) (*metav1.Table, error) {
	return nil, errors.New("nobody prints the metrics of the host")
}
