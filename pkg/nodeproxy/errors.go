package nodeproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
)

// maxErrorBody is how much of the host's answer is read for its message, in
// bytes.
const maxErrorBody = 64 << 10

// errorResponse is an error in the form of a kubelet's: a status and plain text.
type errorResponse struct {
	code       int
	text       string
	retryAfter string
}

// write sends the answer.
func (a *errorResponse) write(w http.ResponseWriter) {
	if a.retryAfter != "" {
		w.Header().Set("Retry-After", a.retryAfter)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(a.code)
	// As in a kubelet's answer no newline follows: the API server makes the whole
	// text its message.
	_, _ = io.WriteString(w, a.text)
}

// podNotFound returns the response for a pod that is not on the node, or not yet.
func podNotFound(t target) *errorResponse {
	return &errorResponse{code: http.StatusNotFound, text: fmt.Sprintf("pod %q does not exist", t.virtual.Name)}
}

// containerNotFound returns the response for a container that the pod does not have.
func containerNotFound(t target) *errorResponse {
	return &errorResponse{code: http.StatusNotFound, text: fmt.Sprintf("container %q not found in pod %q", t.container, t.virtual.Name)}
}

// podUnknown returns the response for a pod that could not be read. cluster names
// the cluster whose API server failed.
func podUnknown(t target, cluster string) *errorResponse {
	return &errorResponse{
		code: http.StatusServiceUnavailable,
		text: fmt.Sprintf("cannot get pod %q: the API server of %s does not respond; try again later", t.virtual.Name, cluster),
	}
}

// hostUnreachable says that the host's API did not answer at all. What went
// wrong, with the host's addresses, is for the operator.
func hostUnreachable(ctx context.Context, op operation, t target, err error) *errorResponse {
	if ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "Cannot relay to host pod", "operation", op.name, "pod", t.virtual, "hostPod", t.host)
	}
	return &errorResponse{
		code: http.StatusBadGateway,
		text: fmt.Sprintf("cannot relay pods/%s of pod %q: the host cluster's API cannot be reached; try again later", op.subresource, t.virtual.Name),
	}
}

// fromHost is what the host's API answered instead of a log or a stream, said
// as a kubelet would and in the names of the virtual cluster.
func fromHost(ctx context.Context, op operation, t target, response *http.Response) *errorResponse {
	message := hostMessage(response)
	a := &errorResponse{code: response.StatusCode, text: t.rename(message), retryAfter: response.Header.Get("Retry-After")}
	switch {
	case response.StatusCode == http.StatusUnauthorized:
		// Passed on as it is, it would tell the tenant that their own login failed.
		a.code = http.StatusBadGateway
		a.text = "the host cluster does not accept the credentials of this virtual cluster's control plane; ask the operator of the host cluster"
	case response.StatusCode == http.StatusForbidden && lacksRight(message):
		a.text = fmt.Sprintf("the host cluster does not let this virtual cluster use pods/%s; ask the operator of the host cluster", op.subresource)
	case response.StatusCode < http.StatusBadRequest:
		a.code = http.StatusBadGateway
		a.text = fmt.Sprintf("the host cluster answered pods/%s with %s", op.subresource, response.Status)
	case message == "":
		a.text = fmt.Sprintf("the host cluster answered pods/%s with %s", op.subresource, response.Status)
	}
	klog.FromContext(ctx).V(2).Info("Host refused to serve pod",
		"operation", op.name, "pod", t.virtual, "hostPod", t.host, "status", response.Status, "message", message)
	return a
}

// hostMessage is the message of the Status that the host's API answered with,
// or its text if it is no Status.
func hostMessage(response *http.Response) string {
	// What could be read of it is worth more than the error of reading on.
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxErrorBody))
	var status metav1.Status
	if err := json.Unmarshal(body, &status); err == nil && status.Kind == "Status" {
		return status.Message
	}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/plain") {
		return strings.TrimSpace(string(body))
	}
	return ""
}

// lacksRight recognises the authorizer's words for a missing right. They name
// our ServiceAccount and the host's namespace, which say nothing to a tenant,
// while the words of an admission webhook are meant for them.
func lacksRight(message string) bool {
	return strings.Contains(message, " cannot ") && strings.Contains(message, `resource "pods/`)
}

// rename turns the host's names of the pod into virtual ones. The namespace
// alone may be an ordinary word; it is taken for a name only in quotes.
func (t target) rename(message string) string {
	return strings.NewReplacer(
		t.host.Namespace+"/"+t.host.Name, t.virtual.Namespace+"/"+t.virtual.Name,
		t.host.Name+"_"+t.host.Namespace, t.virtual.Name+"_"+t.virtual.Namespace,
		t.host.Name, t.virtual.Name,
		`"`+t.host.Namespace+`"`, `"`+t.virtual.Namespace+`"`,
	).Replace(message)
}
