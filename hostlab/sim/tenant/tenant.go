// Package tenant puts a virtual cluster on a simulated host, as near to a real
// installation as a machine without containers allows.
//
// [Install] renders the chart as helm does and applies its objects to the host: roles,
// service accounts, the anchor, Services and the config. Only the StatefulSet is
// missing, since no container can run. In its place, [Release.Run] starts the server as
// a process of its own, with the settings of the chart. Its token is one of the
// release's ServiceAccount, so it has exactly the permissions of the chart's roles.
package tenant

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Host is what an installation needs of a host cluster.
type Host interface {
	// Config returns the client configuration of an administrator.
	Config() *rest.Config
	// Address returns host:port at which another process reaches the API server.
	Address() string
	// CA returns the certificate authority of the API server in PEM.
	CA() []byte
}

// Options specify what to install.
type Options struct {
	// Chart is the folder of the chart. Default: chart.
	Chart string
	// Values override the values of the chart. Default: none.
	Values map[string]any
	// Release and Namespace are as in `helm install RELEASE -n NAMESPACE
	// --create-namespace`. No default.
	Release, Namespace string
	// Server is the path of the server's binary. Default: bin/sublet-server.
	Server string
}

func (o Options) withDefaults() Options {
	if o.Chart == "" {
		o.Chart = "chart"
	}
	if o.Server == "" {
		o.Server = filepath.Join("bin", "sublet-server")
	}
	return o
}

// Release is an installed chart without its process.
type Release struct {
	options Options
	host    Host
	client  kubernetes.Interface
	objects []*unstructured.Unstructured
	config  []byte
	env     []string
}

// Install renders the chart and applies it to the host.
func Install(ctx context.Context, host Host, o Options) (*Release, error) {
	o = o.withDefaults()
	client, err := kubernetes.NewForConfig(host.Config())
	if err != nil {
		return nil, fmt.Errorf("cannot create a client of the host: %w", err)
	}
	r := &Release{options: o, host: host, client: client}
	if err := r.Upgrade(ctx, o.Values); err != nil {
		return nil, err
	}
	return r, nil
}

// Open returns a release that the command line or helm has installed on the host.
func Open(ctx context.Context, host Host, o Options) (*Release, error) {
	o = o.withDefaults()
	client, err := kubernetes.NewForConfig(host.Config())
	if err != nil {
		return nil, fmt.Errorf("cannot create a client of the host: %w", err)
	}
	reader, err := newApplier(host.Config(), o.Namespace)
	if err != nil {
		return nil, err
	}
	r := &Release{options: o, host: host, client: client}
	for _, wanted := range []struct{ version, kind, name string }{{"apps/v1", "StatefulSet", o.Release}, {"v1", "Secret", o.Release + "-config"}} {
		object := &unstructured.Unstructured{}
		object.SetAPIVersion(wanted.version)
		object.SetKind(wanted.kind)
		object.SetName(wanted.name)
		found, err := reader.get(ctx, object)
		if err != nil {
			return nil, err
		}
		r.objects = append(r.objects, found)
	}
	if err := r.readSettings(r.objects); err != nil {
		return nil, err
	}
	return r, nil
}

// Upgrade renders the chart with new values and applies it, as
// `helm upgrade --reset-values` does. It deletes objects that are no longer rendered.
// A running server keeps its settings; [Server.Again] starts it with the new ones.
func (r *Release) Upgrade(ctx context.Context, values map[string]any) error {
	r.options.Values = values
	objects, err := Render(r.options)
	if err != nil {
		return err
	}
	if err := r.readSettings(objects); err != nil {
		return err
	}
	if err := r.apply(ctx, objects); err != nil {
		return err
	}
	r.objects = objects
	return nil
}

// Name returns the name of the release. Name and Namespace are those of the release.
func (r *Release) Name() string { return r.options.Release }

// Namespace returns where the release and all host objects of its tenant live.
func (r *Release) Namespace() string { return r.options.Namespace }

// readSettings takes the server's config and its environment out of the rendered
// objects: what the process would find in its pod.
func (r *Release) readSettings(objects []*unstructured.Unstructured) error {
	for _, object := range objects {
		switch {
		case object.GetKind() == "StatefulSet":
			env, err := containerEnvironment(object)
			if err != nil {
				return err
			}
			r.env = env
		case object.GetName() == r.options.Release+"-config":
			config, err := readFile(object, "config.yaml")
			if err != nil {
				return err
			}
			r.config = config
		}
	}
	if r.config == nil {
		return fmt.Errorf("chart %s renders no %s-config with a config.yaml", r.options.Chart, r.options.Release)
	}
	return nil
}

// apply creates the namespace and all rendered objects, but not the StatefulSet and the
// objects that helm creates only on demand. It deletes objects that were rendered
// before and are not any more.
func (r *Release) apply(ctx context.Context, objects []*unstructured.Unstructured) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: r.options.Namespace}}
	if _, err := r.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create namespace %s on the host: %w", namespace.Name, err)
	}
	writer, err := newApplier(r.host.Config(), r.options.Namespace)
	if err != nil {
		return err
	}
	for _, object := range filterApplied(objects) {
		if err := writer.apply(ctx, object); err != nil {
			return err
		}
	}
	for _, object := range subtract(filterApplied(r.objects), objects) {
		if err := writer.delete(ctx, object); err != nil {
			return err
		}
	}
	return nil
}

// filterApplied returns those of the rendered objects that the host gets.
func filterApplied(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(objects), func(object *unstructured.Unstructured) bool {
		_, hook := object.GetAnnotations()["helm.sh/hook"]
		return hook || object.GetKind() == "StatefulSet"
	})
}

// subtract returns those of the objects before that are not among those after.
func subtract(before, after []*unstructured.Unstructured) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(before), func(old *unstructured.Unstructured) bool {
		return slices.ContainsFunc(after, func(object *unstructured.Unstructured) bool {
			return object.GroupVersionKind().GroupKind() == old.GroupVersionKind().GroupKind() &&
				object.GetNamespace() == old.GetNamespace() && object.GetName() == old.GetName()
		})
	})
}

// applier applies objects of any kind.
type applier struct {
	client    dynamic.Interface
	mapper    *restmapper.DeferredDiscoveryRESTMapper
	namespace string
}

func newApplier(config *rest.Config, namespace string) (*applier, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot create a client of the host: %w", err)
	}
	kinds, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot create a client of the host: %w", err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kinds))
	return &applier{client: client, mapper: mapper, namespace: namespace}, nil
}

func (a *applier) apply(ctx context.Context, object *unstructured.Unstructured) error {
	resource, err := a.resource(object)
	if err != nil {
		return err
	}
	if _, err := resource.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: "helm", Force: true}); err != nil {
		return fmt.Errorf("cannot apply %s %s to the host: %w", object.GetKind(), object.GetName(), err)
	}
	return nil
}

// get returns the object of the host with the kind and name of object.
func (a *applier) get(ctx context.Context, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	resource, err := a.resource(object)
	if err != nil {
		return nil, err
	}
	found, err := resource.Get(ctx, object.GetName(), metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot get %s %s of the host: %w", object.GetKind(), object.GetName(), err)
	}
	return found, nil
}

func (a *applier) delete(ctx context.Context, object *unstructured.Unstructured) error {
	resource, err := a.resource(object)
	if err != nil {
		return err
	}
	if err := resource.Delete(ctx, object.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot delete %s %s from the host: %w", object.GetKind(), object.GetName(), err)
	}
	return nil
}

// resource returns where objects of this kind, and of this namespace, are written.
func (a *applier) resource(object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := object.GroupVersionKind()
	mapping, err := a.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, fmt.Errorf("the host does not know %s %s: %w", kind, object.GetName(), err)
	}
	resource := a.client.Resource(mapping.Resource)
	if mapping.Scope.Name() != "namespace" {
		return resource, nil
	}
	namespace := object.GetNamespace()
	if namespace == "" {
		namespace = a.namespace
	}
	return resource.Namespace(namespace), nil
}

// hostKubeconfig returns what the server gets in place of the token in its pod, which is
// nil outside of a pod. The host is reached via its second argument.
func (r *Release) hostKubeconfig(ctx context.Context, via Host, pod *corev1.Pod) ([]byte, error) {
	day := int64((24 * time.Hour).Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day}}
	if pod != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{
			APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID,
		}
	}
	token, err := r.client.CoreV1().ServiceAccounts(r.options.Namespace).
		CreateToken(ctx, r.options.Release, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot get a token of ServiceAccount %s/%s: %w", r.options.Namespace, r.options.Release, err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["host"] = &clientcmdapi.Cluster{Server: "https://" + via.Address(), CertificateAuthorityData: via.CA()}
	config.AuthInfos["server"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	config.Contexts["host"] = &clientcmdapi.Context{Cluster: "host", AuthInfo: "server", Namespace: r.options.Namespace}
	config.CurrentContext = "host"
	return clientcmd.Write(*config)
}

// errNotYet is returned while the server has not written its kubeconfig.
var errNotYet = errors.New("the kubeconfig is not there yet")

// kubeconfig returns the administrator's kubeconfig of the virtual cluster. The server
// has written it to a host Secret; the address is the one of the process on this
// machine.
func (r *Release) kubeconfig(ctx context.Context, address string) ([]byte, error) {
	name := r.options.Release + "-kubeconfig"
	secret, err := r.client.CoreV1().Secrets(r.options.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, errNotYet
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read Secret %s/%s: %w", r.options.Namespace, name, err)
	}
	config, err := clientcmd.Load(secret.Data["config"])
	if err != nil {
		return nil, fmt.Errorf("cannot read the kubeconfig in Secret %s/%s: %w", r.options.Namespace, name, err)
	}
	for _, cluster := range config.Clusters {
		cluster.Server = "https://" + address
	}
	return clientcmd.Write(*config)
}

// readFile returns one file of a ConfigMap or a Secret.
func readFile(object *unstructured.Unstructured, file string) ([]byte, error) {
	for _, field := range []string{"stringData", "data"} {
		content, found, err := unstructured.NestedString(object.Object, field, file)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		if !found {
			continue
		}
		if object.GetKind() == "Secret" && field == "data" {
			return decodeBase64(content)
		}
		return []byte(content), nil
	}
	return nil, fmt.Errorf("%s %s holds no %s", object.GetKind(), object.GetName(), file)
}

// containerEnvironment returns what the chart sets for the server's container, as
// NAME=VALUE, without what only a kubelet knows.
func containerEnvironment(statefulSet *unstructured.Unstructured) ([]string, error) {
	containers, _, err := unstructured.NestedSlice(statefulSet.Object, "spec", "template", "spec", "containers")
	if err != nil {
		return nil, fmt.Errorf("StatefulSet %s: %w", statefulSet.GetName(), err)
	}
	if len(containers) == 0 {
		return nil, fmt.Errorf("StatefulSet %s has no containers", statefulSet.GetName())
	}
	container, _ := containers[0].(map[string]any)
	list, _, err := unstructured.NestedSlice(container, "env")
	if err != nil {
		return nil, fmt.Errorf("StatefulSet %s: %w", statefulSet.GetName(), err)
	}
	var env []string
	for _, entry := range list {
		fields, _ := entry.(map[string]any)
		name, _ := fields["name"].(string)
		if value, plain := fields["value"].(string); plain && !strings.Contains(value, "$(") {
			env = append(env, name+"="+value)
		}
	}
	return env, nil
}
