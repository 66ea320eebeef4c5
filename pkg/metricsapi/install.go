package metricsapi

import (
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	hostrest "k8s.io/client-go/rest"
	"k8s.io/metrics/pkg/apis/metrics"
	"k8s.io/metrics/pkg/apis/metrics/install"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// Options configures the metrics API.
type Options struct {
	// Host is the configuration for the host's API server. It needs permission to list
	// pods.metrics.k8s.io in the namespace of the cluster. Required.
	Host *hostrest.Config
	// Cluster is the identity of the virtual cluster. Required.
	Cluster translate.Cluster
	// Virtual returns a client of the virtual API server, which may read pods and nodes.
	// It is called for each request. Required.
	Virtual func() kubernetes.Interface
	// Pods and Nodes are whether the usage of pods, and of nodes, is served.
	Pods, Nodes bool
	// Clock measures the age of what the host returned. Default: the real one.
	Clock clock.WithDelayedExecution
}

// A storage implements all of these, or the API server leaves verbs out.
var (
	_ rest.KindProvider         = &podStorage{}
	_ rest.Storage              = &podStorage{}
	_ rest.Getter               = &podStorage{}
	_ rest.Lister               = &podStorage{}
	_ rest.Scoper               = &podStorage{}
	_ rest.SingularNameProvider = &podStorage{}
	_ rest.KindProvider         = &nodeStorage{}
	_ rest.Storage              = &nodeStorage{}
	_ rest.Getter               = &nodeStorage{}
	_ rest.Lister               = &nodeStorage{}
	_ rest.Scoper               = &nodeStorage{}
	_ rest.SingularNameProvider = &nodeStorage{}
)

// New returns the group of the metrics API, for the virtual API server to install.
func New(o Options) (*genericapiserver.APIGroupInfo, error) {
	if o.Host == nil || o.Virtual == nil {
		return nil, errors.New("cannot create the metrics API: it needs the host and the virtual cluster")
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	usage, err := newHostUsage(o.Host, o.Cluster, o.Clock)
	if err != nil {
		return nil, err
	}
	reader := &reader{cluster: o.Cluster, usage: usage, virtual: o.Virtual, lists: make(chan struct{}, maxLists)}
	storages := map[string]rest.Storage{}
	if o.Pods {
		storages["pods"] = &podStorage{reader}
	}
	if o.Nodes {
		storages["nodes"] = &nodeStorage{reader}
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	group := genericapiserver.NewDefaultAPIGroupInfo(metrics.GroupName, scheme, metav1.ParameterCodec, serializer.NewCodecFactory(scheme))
	group.PrioritizedVersions = []schema.GroupVersion{v1beta1.SchemeGroupVersion}
	group.VersionedResourcesStorageMap[v1beta1.SchemeGroupVersion.Version] = storages
	return &group, nil
}
