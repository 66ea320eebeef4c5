package metricsapi

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned/typed/metrics/v1beta1"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/recent"
	"github.com/sublet-dev/sublet/pkg/translate"
)

const (
	// keepUsage is how long one answer of the host serves all requests. A metrics server
	// measures every 15 seconds or so.
	keepUsage = 5 * time.Second
	// hostTimeout bounds a request to the host. It does not depend on who asked first.
	hostTimeout = 10 * time.Second
)

// usageByPod is what the host measured at one time.
type usageByPod struct {
	// pods: name of the host pod -> its usage
	pods map[string]*v1beta1.PodMetrics
	at   time.Time
	// err is why there is no usage. It is for tenants.
	err error
}

// hostUsage reads the usage of the cluster's pods from the host's metrics API. Requests
// that come at once, or within keepUsage, share one request to the host. A failure is
// shared too, so that no tenant can flood a host that does not answer.
type hostUsage struct {
	client   metricsclient.PodMetricsInterface
	selector string
	clock    clock.PassiveClock
	recent   *recent.Answers[allPods, *usageByPod]
}

// allPods is the only key: there is one request to the host.
type allPods struct{}

// newHostUsage creates a reader. It sends nothing.
func newHostUsage(host *rest.Config, cluster translate.Cluster, c clock.WithDelayedExecution) (*hostUsage, error) {
	config := rest.CopyConfig(host)
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	config.Timeout = hostTimeout
	client, err := metricsclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot create client of the host's metrics API: %w", err)
	}
	return &hostUsage{
		client:   client.PodMetricses(cluster.Namespace),
		selector: labels.Cluster + "=" + cluster.UID,
		clock:    c,
		recent:   recent.NewAnswers[allPods, *usageByPod](keepUsage, c),
	}, nil
}

// get returns the usage of all pods of the cluster, not older than keepUsage.
func (h *hostUsage) get(ctx context.Context) (*usageByPod, error) {
	usage, err := h.recent.Get(ctx, allPods{}, h.list)
	if err != nil {
		return nil, err
	}
	return usage, usage.err
}

// list lists the usage on the host.
func (h *hostUsage) list(ctx context.Context) *usageByPod {
	ctx, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	list, err := h.client.List(ctx, metav1.ListOptions{LabelSelector: h.selector})
	usage := &usageByPod{at: h.clock.Now()}
	if err != nil {
		klog.FromContext(ctx).Error(err, "Cannot list usage of host pods")
		usage.err = toTenantError(err)
		return usage
	}
	usage.pods = make(map[string]*v1beta1.PodMetrics, len(list.Items))
	for i := range list.Items {
		usage.pods[list.Items[i].Name] = &list.Items[i]
	}
	return usage
}

// toTenantError converts an error of the host. The host's text names its own objects, so
// the tenant gets the sort of the error and what to do.
func toTenantError(err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return apierrors.NewServiceUnavailable("the host cluster does not serve the metrics API (metrics.k8s.io/v1beta1): " +
			"ask its operator to install metrics-server there")
	case apierrors.IsForbidden(err):
		return apierrors.NewServiceUnavailable("this virtual cluster has no permission for pods.metrics.k8s.io on the host cluster: " +
			"ask the operator of the host cluster")
	default:
		return apierrors.NewServiceUnavailable("the metrics API of the host cluster does not respond: try again later")
	}
}
