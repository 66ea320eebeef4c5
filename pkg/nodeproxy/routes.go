package nodeproxy

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// operation is a request for a pod that a kubelet serves.
type operation struct {
	// name is the first segment of the kubelet's path.
	name string
	// subresource is the subresource of host pods that does the same.
	subresource string
	// stream specifies that the connection switches to another protocol.
	stream bool
	// container specifies that the path ends in the name of a container.
	container bool
	// copyQuery translates the options of a kubelet to those of the host's API server.
	copyQuery func(kubelet, api url.Values)
}

// relayedOperations returns all operations that are relayed.
func relayedOperations() []operation {
	return []operation{
		{name: "containerLogs", subresource: "log", container: true, copyQuery: copyLogQuery},
		{name: "exec", subresource: "exec", stream: true, container: true, copyQuery: copyExecQuery},
		{name: "attach", subresource: "attach", stream: true, container: true, copyQuery: copyStreamQuery},
		{name: "portForward", subresource: "portforward", stream: true, copyQuery: copyPortQuery},
	}
}

// target is a virtual pod and the host pod that is its copy.
type target struct {
	virtual types.NamespacedName
	host    types.NamespacedName
	cluster translate.Cluster
	// pod is the virtual pod. It is nil until it was found.
	pod *corev1.Pod
	// container is empty if the operation is for the whole pod.
	container string
}

// newHandler returns the handler of all requests for kubelets.
func (p *Proxy) newHandler() http.Handler {
	mux := http.NewServeMux()
	for _, op := range relayedOperations() {
		handler := p.metrics.observe(op.name, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.serve(op, w, r)
		}))
		for _, method := range op.methods() {
			for _, pattern := range op.paths() {
				mux.Handle(method+" "+pattern, handler)
			}
		}
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok"))
	})
	mux.Handle("/", p.metrics.observe("other", http.HandlerFunc(answerNotServed)))
	return mux
}

// methods returns the HTTP methods of the operation. SPDY uses POST and WebSocket GET.
func (o operation) methods() []string {
	if o.stream {
		return []string{http.MethodGet, http.MethodPost}
	}
	return []string{http.MethodGet}
}

// paths returns the patterns of the kubelet's paths, with and without the pod's UID.
func (o operation) paths() []string {
	pod := "/" + o.name + "/{namespace}/{pod}"
	switch {
	case !o.container:
		return []string{pod, pod + "/{uid}"}
	case o.stream:
		return []string{pod + "/{container}", pod + "/{uid}/{container}"}
	default:
		return []string{pod + "/{container}"}
	}
}

// serve relays one request.
func (p *Proxy) serve(op operation, w http.ResponseWriter, r *http.Request) {
	if !p.requests.add() {
		// The connection is closing, so nobody would read a response.
		panic(http.ErrAbortHandler)
	}
	defer p.requests.done()
	if busy := p.streams.acquire(op); busy != nil {
		busy.write(w)
		return
	}
	defer p.streams.release()
	t, failure := p.findTarget(r)
	if failure != nil {
		failure.write(w)
		return
	}
	klog.FromContext(r.Context()).V(4).Info("Relaying to host pod",
		"operation", op.name, "pod", t.virtual, "hostPod", t.host, "container", t.container)
	if op.stream {
		p.relayStream(op, t, w, r)
		return
	}
	p.relayLog(op, t, w, r)
}

// findTarget returns the pod and the container that the request names. It proves that
// the host pod is the copy of the virtual pod, and that the container is of the virtual
// pod. So containers that the host added are not served.
func (p *Proxy) findTarget(r *http.Request) (target, *errorResponse) {
	virtual := types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("pod")}
	t := target{virtual: virtual, host: translate.Hashed(p.cluster, virtual), cluster: p.cluster, container: r.PathValue("container")}
	if len(content.IsPathSegmentName(virtual.Namespace)) > 0 || len(content.IsPathSegmentName(virtual.Name)) > 0 {
		return t, podNotFound(t) // The client would fail by itself, as if the API server did not respond.
	}
	pod, err := p.virtual(r.Context(), virtual)
	if apierrors.IsNotFound(err) {
		return t, podNotFound(t)
	}
	if err != nil {
		klog.FromContext(r.Context()).Error(err, "Cannot get virtual pod", "pod", virtual)
		return t, podUnreadable(t, "this cluster")
	}
	t.pod = pod
	host, err := p.findCopy(r.Context(), t, pod.UID)
	switch {
	case err != nil:
		klog.FromContext(r.Context()).Error(err, "Cannot get host pod", "pod", virtual, "hostPod", t.host)
		return t, podUnreadable(t, "the host cluster")
	case host == nil || !matchesUID(r.PathValue("uid"), pod.UID):
		return t, podNotFound(t)
	case t.container != "" && !hasContainer(&pod.Spec, host, t.container):
		return t, containerNotFound(t)
	}
	return t, nil
}

// findCopy returns the host pod that is the copy of the virtual pod with that UID, nil if there
// is none.
func (p *Proxy) findCopy(ctx context.Context, t target, uid types.UID) (metav1.Object, error) {
	pod, err := p.pods.HostPod(ctx, t.host)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // There is none.
	case err != nil:
		return nil, err
	}
	if origin, originUID, ours := translate.Origin(p.cluster, translate.Hashed, pod); !ours || origin != t.virtual || originUID != uid {
		return nil, nil //nolint:nilnil // The pod of that name is no copy.
	}
	return pod, nil
}

// matchesUID reports whether a path names the UID or none.
func matchesUID(path string, uid types.UID) bool {
	return path == "" || types.UID(path) == uid
}

// hasContainer reports whether the virtual pod has a container of that name, of any sort. Under
// the name of an ephemeral one, the host pod may have another. It is a sidecar, or one with which
// an operator debugs the pod.
func hasContainer(pod *corev1.PodSpec, host metav1.Object, name string) bool {
	return slices.ContainsFunc(pod.Containers, func(c corev1.Container) bool { return c.Name == name }) ||
		slices.ContainsFunc(pod.InitContainers, func(c corev1.Container) bool { return c.Name == name }) ||
		slices.ContainsFunc(pod.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == name }) &&
			translate.IsTenantsDebugContainer(host, name)
}

// answerNotServed answers requests that a kubelet serves and the proxy does not.
func answerNotServed(w http.ResponseWriter, r *http.Request) {
	(&errorResponse{
		code: http.StatusNotFound,
		text: fmt.Sprintf("%s is not served: this node's kubelet belongs to the host cluster. A virtual cluster relays logs, exec, attach and port-forward only", r.URL.Path),
	}).write(w)
}
