package nodeproxy

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// operation is one thing that a kubelet does for a pod.
type operation struct {
	// name is the first segment of the kubelet's path.
	name string
	// subresource is the one of the host's pods that does the same.
	subresource string
	// stream is true if the connection is switched to another protocol.
	stream bool
	// container is true if the path ends in the name of a container.
	container bool
}

// operations is all that is relayed.
func operations() []operation {
	return []operation{
		{name: "containerLogs", subresource: "log", container: true},
		{name: "exec", subresource: "exec", stream: true, container: true},
		{name: "attach", subresource: "attach", stream: true, container: true},
		{name: "portForward", subresource: "portforward", stream: true},
	}
}

// target is a virtual pod and the host pod that is its copy.
type target struct {
	virtual types.NamespacedName
	host    types.NamespacedName
	// container is empty where the operation is about the whole pod.
	container string
}

// routes is the handler of all that the API server asks a kubelet.
func (p *Proxy) routes() http.Handler {
	mux := http.NewServeMux()
	for _, op := range operations() {
		handler := p.metrics.observe(op.name, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.serve(op, w, r)
		}))
		for _, method := range op.methods() {
			for _, path := range op.paths() {
				mux.Handle(method+" "+path, handler)
			}
		}
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok"))
	})
	mux.Handle("/", p.metrics.observe("other", http.HandlerFunc(notServed)))
	return mux
}

// methods are the HTTP methods of the operation. SPDY asks with POST and
// WebSocket with GET.
func (o operation) methods() []string {
	if o.stream {
		return []string{http.MethodGet, http.MethodPost}
	}
	return []string{http.MethodGet}
}

// paths are the patterns of the kubelet's paths, with and without the pod's UID.
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
	if !p.serving.enter() {
		// The connection is closing; nobody will read an answer.
		panic(http.ErrAbortHandler)
	}
	defer p.serving.leave()
	t, refusal := p.findTarget(r)
	if refusal != nil {
		refusal.write(w)
		return
	}
	klog.FromContext(r.Context()).V(4).Info("Relaying to host pod",
		"operation", op.name, "pod", t.virtual, "hostPod", t.host, "container", t.container)
	if op.stream {
		p.stream(op, t, w, r)
		return
	}
	p.logs(op, t, w, r)
}

// findTarget returns the pod and the container that the request names. The host
// pod is proven to be the copy of the virtual pod, and the container is one that
// the tenant has put into it: containers that the host injected are not served.
func (p *Proxy) findTarget(r *http.Request) (target, *errorResponse) {
	virtual := types.NamespacedName{Namespace: r.PathValue("namespace"), Name: r.PathValue("pod")}
	t := target{virtual: virtual, host: translate.Hashed(p.cluster, virtual), container: r.PathValue("container")}
	pod, err := p.virtual(r.Context(), virtual)
	if apierrors.IsNotFound(err) {
		return t, podNotFound(t)
	}
	if err != nil {
		klog.FromContext(r.Context()).Error(err, "Cannot get virtual pod", "pod", virtual)
		return t, podUnknown(t, "this cluster")
	}
	isCopy, err := p.isCopy(r.Context(), t, pod.UID)
	switch {
	case err != nil:
		klog.FromContext(r.Context()).Error(err, "Cannot get host pod", "pod", virtual, "hostPod", t.host)
		return t, podUnknown(t, "the host cluster")
	case !isCopy || !matchesUID(r.PathValue("uid"), pod.UID):
		return t, podNotFound(t)
	case t.container != "" && !hasContainer(&pod.Spec, t.container):
		return t, containerNotFound(t)
	}
	return t, nil
}

// isCopy reports whether the host pod is the copy of the virtual pod with that UID.
func (p *Proxy) isCopy(ctx context.Context, t target, uid types.UID) (bool, error) {
	pod, err := p.pods.HostPod(ctx, t.host)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	origin, originUID, ours := translate.Origin(p.cluster, translate.Hashed, pod)
	return ours && origin == t.virtual && originUID == uid, nil
}

// matchesUID reports whether a path names the UID or none.
func matchesUID(path string, uid types.UID) bool {
	return path == "" || types.UID(path) == uid
}

// hasContainer reports whether the pod has a container of that name, of any sort.
func hasContainer(pod *corev1.PodSpec, name string) bool {
	return slices.ContainsFunc(pod.Containers, func(c corev1.Container) bool { return c.Name == name }) ||
		slices.ContainsFunc(pod.InitContainers, func(c corev1.Container) bool { return c.Name == name }) ||
		slices.ContainsFunc(pod.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == name })
}

// notServed answers for all that a kubelet serves and we do not.
func notServed(w http.ResponseWriter, r *http.Request) {
	(&errorResponse{
		code: http.StatusNotFound,
		text: fmt.Sprintf("%s is not served: this node's kubelet belongs to the host cluster. A virtual cluster relays logs, exec, attach and port-forward only", r.URL.Path),
	}).write(w)
}
