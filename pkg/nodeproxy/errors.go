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

	"github.com/sublet-dev/sublet/pkg/translate"
)

// maxErrorBody is how much of the host's response is read for its message, in
// bytes.
const maxErrorBody = 64 << 10

// errorResponse is an error in the form of a kubelet's: a status and plain text.
type errorResponse struct {
	code       int
	text       string
	retryAfter string
}

// write sends the response.
func (e *errorResponse) write(w http.ResponseWriter) {
	if e.retryAfter != "" {
		w.Header().Set("Retry-After", e.retryAfter)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(e.code)
	// No newline follows: the API server uses the whole text as its message.
	_, _ = io.WriteString(w, e.text)
}

// podNotFound returns the response for a pod that is not on the node, or not yet.
func podNotFound(t target) *errorResponse {
	return &errorResponse{code: http.StatusNotFound, text: fmt.Sprintf("pod %q does not exist", t.virtual.Name)}
}

// containerNotFound returns the response for a container that the pod does not have.
func containerNotFound(t target) *errorResponse {
	return &errorResponse{code: http.StatusNotFound, text: fmt.Sprintf("container %q not found in pod %q", t.container, t.virtual.Name)}
}

// podUnreadable returns the response for a pod that could not be read. cluster names
// the cluster whose API server failed.
func podUnreadable(t target, cluster string) *errorResponse {
	return &errorResponse{
		code: http.StatusServiceUnavailable,
		text: fmt.Sprintf("cannot get pod %q: the API server of %s does not respond; try again later", t.virtual.Name, cluster),
	}
}

// hostUnreachable returns the response for a host whose API server did not respond.
// It logs the cause for the operator. The tenant does not get it: it names addresses
// of the host.
func hostUnreachable(ctx context.Context, op operation, t target, err error) *errorResponse {
	if ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "Cannot relay to host pod", "operation", op.name, "pod", t.virtual, "hostPod", t.host)
	}
	return &errorResponse{
		code: http.StatusBadGateway,
		text: fmt.Sprintf("cannot relay pods/%s of pod %q: the host cluster's API cannot be reached; try again later", op.subresource, t.virtual.Name),
	}
}

// fromHostResponse converts an error response of the host's API server. The result
// has the form of a kubelet's response and the names of the virtual cluster.
func fromHostResponse(ctx context.Context, op operation, t target, response *http.Response) *errorResponse {
	message := readMessage(response)
	converted := &errorResponse{code: response.StatusCode, text: t.toVirtualNames(message), retryAfter: response.Header.Get("Retry-After")}
	switch {
	case response.StatusCode == http.StatusUnauthorized:
		// With 401 the tenant would look for the fault in their own credentials.
		converted.code = http.StatusBadGateway
		converted.text = "the host cluster does not accept the credentials of this virtual cluster's control plane; ask the operator of the host cluster"
	case response.StatusCode == http.StatusForbidden && isRBACDenial(message):
		converted.text = fmt.Sprintf("this virtual cluster has no permission for pods/%s on the host cluster; ask the operator of the host cluster", op.subresource)
	case response.StatusCode < http.StatusBadRequest:
		converted.code = http.StatusBadGateway
		converted.text = fmt.Sprintf("the host cluster returned %s for pods/%s", response.Status, op.subresource)
	case message == "":
		converted.text = fmt.Sprintf("the host cluster returned %s for pods/%s", response.Status, op.subresource)
	}
	klog.FromContext(ctx).V(2).Info("Host rejected request for pod",
		"operation", op.name, "pod", t.virtual, "hostPod", t.host, "status", response.Status, "message", message)
	return converted
}

// readMessage returns the message of the Status in a response, or the text of a
// response that is no Status. It is empty for anything else, such as a page.
func readMessage(response *http.Response) string {
	// A part of the body is more useful than the error of reading the rest.
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

// isRBACDenial reports whether a message is the authorizer's. It names our
// ServiceAccount and the host's namespace, so a tenant must not read it. The message
// of an admission webhook may be for the tenant.
func isRBACDenial(message string) bool {
	return strings.Contains(message, " cannot ") && strings.Contains(message, `resource "pods/`)
}

// toVirtualNames returns a message of the host with the names of the virtual pod, and of
// all that it refers to.
func (t target) toVirtualNames(message string) string {
	names := translate.Rewriter{Cluster: t.cluster}
	names.AddPod(t.pod, "")
	return names.RewriteError(message)
}
