package kubeletmetrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/translate"
)

const (
	// anyVersion lets the virtual API server answer from its cache.
	anyVersion = "0"
	// onlyUsage is the option of stats/summary that leaves out all but CPU and memory.
	onlyUsage = "only_cpu_and_memory"
	// maxServed is how many answers are requested and written at once. Each may be large, and a client may read it slowly.
	maxServed = 8
	// writeTimeout is how long a client may take to read an answer.
	writeTimeout = 30 * time.Second
	// kubeletPort is the port of a kubelet whose node has none in its status.
	kubeletPort = 10250
)

// Options configures a [Handler].
type Options struct {
	// Enabled specifies whether kubelets are asked. If not, requests are answered with the
	// name of the setting.
	Enabled bool
	// Host has the credentials for kubelets: those for the host's API server. Required if
	// Enabled.
	Host *rest.Config
	// InsecureSkipTLSVerify accepts any certificate of a kubelet.
	InsecureSkipTLSVerify bool
	// HostNode returns a node of the host. Required if Enabled.
	HostNode func(ctx context.Context, name string) (*corev1.Node, error)
	// Cluster is the identity of the virtual cluster.
	Cluster translate.Cluster
	// Virtual returns a client of the virtual API server, which may read pods and nodes.
	// It is called for each request. Required if Enabled.
	Virtual func() kubernetes.Interface
	// Clock measures the age of answers. Default: the real one.
	Clock clock.WithDelayedExecution
}

// Handler answers requests for the metrics of kubelets.
type Handler struct {
	enabled  bool
	cluster  translate.Cluster
	virtual  func() kubernetes.Interface
	kubelets *kubelets
	answers  *answers
	serving  chan struct{} // has an element for each answer that is requested or written
}

// New creates a handler. It sends nothing.
func New(o Options) (*Handler, error) {
	h := &Handler{enabled: o.Enabled, cluster: o.Cluster, virtual: o.Virtual}
	if !o.Enabled {
		return h, nil
	}
	if o.Host == nil || o.HostNode == nil || o.Virtual == nil {
		return nil, errors.New("cannot create the metrics of kubelets: they need the host and the virtual cluster")
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	client, err := newKubelets(o.Host, o.InsecureSkipTLSVerify, o.HostNode)
	if err != nil {
		return nil, err
	}
	h.kubelets, h.answers, h.serving = client, newAnswers(o.Clock), make(chan struct{}, maxServed)
	return h, nil
}

// query is what a tenant asks of a kubelet.
type query struct {
	node string
	// port is the port that the request names, or empty.
	port string
	path string
	// onlyUsage is whether stats/summary has CPU and memory alone.
	onlyUsage bool
}

// Wrap returns a handler of authorized requests. It answers those for metrics of a kubelet,
// and passes all others to next.
func (h *Handler) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, ok := parseQuery(r)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		if !h.enabled {
			writeFailure(w, &failure{http.StatusNotFound, q.path + " is not served: the metrics of kubelets are off. " +
				"Ask the operator of the host to set integrations.kubeletMetrics.enabled"})
			return
		}
		node, err := h.virtual().CoreV1().Nodes().Get(r.Context(), q.node, metav1.GetOptions{ResourceVersion: anyVersion})
		switch {
		case apierrors.IsNotFound(err) || (err == nil && !isKubeletPort(node, q.port)):
			next.ServeHTTP(w, r)
		case err != nil:
			klog.FromContext(r.Context()).Error(err, "Cannot get virtual node", "node", q.node)
			writeFailure(w, &failure{http.StatusServiceUnavailable, "cannot get node " + q.node + ": try again later"})
		default:
			h.serve(w, r, q)
		}
	})
}

// parseQuery returns what a request asks of a kubelet. ok is false for any other request.
// A request within a namespace is none: a Role of that namespace may permit it.
func parseQuery(r *http.Request) (q query, ok bool) {
	info, found := genericapirequest.RequestInfoFrom(r.Context())
	if !found || r.Method != http.MethodGet || !isNodeProxy(info) {
		return q, false
	}
	scheme, name, port, valid := utilnet.SplitSchemeNamePort(info.Name)
	q = query{node: name, port: port, path: strings.Join(info.Parts[3:], "/")}
	q.onlyUsage = q.path == summaryPath && r.URL.Query().Get(onlyUsage) == "true"
	return q, valid && (scheme == "" || scheme == "https") && slices.Contains(paths(), q.path)
}

// isNodeProxy reports whether a request is for the proxy of a node.
func isNodeProxy(info *genericapirequest.RequestInfo) bool {
	return info.IsResourceRequest && info.Verb == "get" && info.Namespace == "" && info.APIGroup == "" &&
		info.Resource == "nodes" && info.Subresource == "proxy" && len(info.Parts) >= 3
}

// paths returns the paths of a kubelet that are served.
func paths() []string {
	return []string{summaryPath, resourcePath, "metrics/cadvisor", "metrics/probes"}
}

// isKubeletPort reports whether a request that names the port, or none, is for the kubelet.
func isKubeletPort(node *corev1.Node, port string) bool {
	return port == "" || port == strconv.Itoa(portOf(node))
}

// portOf returns the port of the kubelet of a node.
func portOf(node *corev1.Node) int {
	if port := node.Status.DaemonEndpoints.KubeletEndpoint.Port; port > 0 {
		return int(port)
	}
	return kubeletPort
}

// serve answers a request for a node that the tenant has.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, q query) {
	if !h.acquire(r.Context()) {
		writeFailure(w, &failure{http.StatusTooManyRequests, "too many clients read metrics of kubelets at once: try again later"})
		return
	}
	defer func() { <-h.serving }()
	a, err := h.answers.get(r.Context(), q, func(ctx context.Context) *answer { return h.queryKubelet(ctx, q) })
	switch {
	case r.Context().Err() != nil:
		return // the client has left
	case err != nil:
		writeFailure(w, &failure{http.StatusInternalServerError, "internal error of the virtual cluster"})
		return
	case a.failure != nil:
		writeFailure(w, a.failure)
		return
	}
	w.Header().Set("Content-Type", a.contentType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	writeBody(w, a.body)
}

// acquire reserves a place for an answer, which the caller releases. It waits for askTimeout, and returns false if there
// is none then.
func (h *Handler) acquire(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	select {
	case h.serving <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// writeBody writes a body for writeTimeout at most. The client may have left.
func writeBody(w http.ResponseWriter, body []byte) {
	controller := http.NewResponseController(w)
	_ = controller.SetWriteDeadline(time.Now().Add(writeTimeout)) //nolint:forbidigo // The deadline of a connection is real time.
	if _, err := w.Write(body); err == nil {
		_ = controller.SetWriteDeadline(time.Time{}) // The connection may serve other requests.
	}
}

// queryKubelet requests the metrics from the kubelet, and returns the tenant's part of them.
func (h *Handler) queryKubelet(ctx context.Context, q query) *answer {
	pods, err := h.listPods(ctx, q.node)
	if err != nil {
		klog.FromContext(ctx).Error(err, "Cannot list virtual pods of node", "node", q.node)
		return &answer{failure: &failure{http.StatusServiceUnavailable, "cannot list pods of node " + q.node + ": try again later"}}
	}
	response, err := h.kubelets.get(ctx, q)
	if err != nil {
		return &answer{failure: toFailure(ctx, q, err)}
	}
	defer func() { _ = response.Body.Close() }()
	body := &boundedReader{reader: response.Body, left: maxRead}
	a := &answer{}
	if q.path == summaryPath {
		a.contentType = "application/json"
		a.body, err = pods.filterSummary(body, q)
	} else {
		a.contentType = textType
		a.body, err = pods.filterText(body, response.Header, q.path)
	}
	if err != nil {
		return &answer{failure: toFailure(ctx, q, err)}
	}
	return a
}

// listPods returns the virtual pods of a node.
func (h *Handler) listPods(ctx context.Context, node string) (podSet, error) {
	list, err := h.virtual().CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		ResourceVersion: anyVersion, FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String(),
	})
	if err != nil {
		return podSet{}, err
	}
	return newPodSet(h.cluster, list.Items), nil
}

// failure is an answer without metrics.
type failure struct {
	code int
	text string
}

// writeFailure writes a failure, as plain text.
func writeFailure(w http.ResponseWriter, f *failure) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if f.code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(f.code)
	_, _ = io.WriteString(w, f.text)
}

// toFailure converts an error of a kubelet, and logs it. Its text names addresses of the
// host, so the tenant gets the sort of the error and what to do.
func toFailure(ctx context.Context, q query, err error) *failure {
	klog.FromContext(ctx).Error(err, "Cannot get metrics of kubelet", "node", q.node, "path", q.path)
	var status *statusError
	switch {
	case errors.As(err, &status) && (status.code == http.StatusUnauthorized || status.code == http.StatusForbidden):
		return &failure{http.StatusServiceUnavailable, "the kubelet of node " + q.node + " does not permit the virtual cluster to read " + q.path +
			": ask the operator of the host cluster"}
	case errors.As(err, &status):
		return &failure{http.StatusBadGateway, fmt.Sprintf("the kubelet of node %s answered %d to %s", q.node, status.code, q.path)}
	case errors.Is(err, errTooLarge):
		return &failure{http.StatusBadGateway, "the kubelet of node " + q.node + " has more metrics than can be filtered at once"}
	default:
		return &failure{http.StatusServiceUnavailable, "the kubelet of node " + q.node + " cannot be read: try again later, or ask the operator of the host cluster"}
	}
}
