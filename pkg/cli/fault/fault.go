// Package fault gives each error of the command line a hint on what to do, and an exit
// code.
package fault

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// Exit codes. docs/reference/cli.md lists them for users.
const (
	// Failed is the code of an error that no other code fits.
	Failed = 1
	// Usage is the code for wrong flags, arguments, values or kubeconfig files.
	Usage = 2
	// NotFound is the code for a virtual cluster, context or file that does not exist.
	NotFound = 3
	// Denied is the code for missing permissions and for credentials that are not accepted.
	Denied = 4
	// Unreachable is the code for a server that does not answer, or cannot be trusted.
	Unreachable = 5
	// NotReady is the code for a wait that took too long.
	NotReady = 6
	// Conflict is the code for something that exists already, or is being changed.
	Conflict = 7
	// Interrupted is the code after Ctrl-C.
	Interrupted = 130
)

// Error is an error with what to do about it.
type Error struct {
	// Code is the exit code.
	Code int
	// Message is what was wrong.
	Message string
	// Hint is what to do. It may be empty if the message is enough.
	Hint string
	// Cause is wrapped, if there is one. It is part of the text.
	Cause error
}

// New returns an error without a cause.
func New(code int, hint, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Hint: hint}
}

// Error implements error.
func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Message
	}
	return e.Message + ": " + e.Cause.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// ExitError is the end of a command that the user had us run.
type ExitError struct {
	// Code is the exit code of the command.
	Code int
}

// Error implements error.
func (e *ExitError) Error() string { return fmt.Sprintf("the command ended with exit code %d", e.Code) }

// Wrap returns err with a message, and with code and hint by its cause. It keeps those
// that err has. It returns nil for nil.
func Wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	wrapped := &Error{Message: fmt.Sprintf(format, args...), Cause: err}
	if known := (*Error)(nil); errors.As(err, &known) {
		wrapped.Code, wrapped.Hint = known.Code, known.Hint
		return wrapped
	}
	wrapped.Code, wrapped.Hint = classify(err)
	return wrapped
}

// Classify returns code and hint of an error.
func Classify(err error) (code int, hint string) {
	if exit := (*ExitError)(nil); errors.As(err, &exit) {
		return exit.Code, ""
	}
	if known := (*Error)(nil); errors.As(err, &known) {
		return known.Code, known.Hint
	}
	return classify(err)
}

// classify returns code and hint by the cause of an error.
func classify(err error) (code int, hint string) {
	switch {
	case errors.Is(err, context.Canceled):
		return Interrupted, ""
	case hasNoCredentials(err):
		return Denied, "The credentials of the context cannot be read or renewed. Log in again, or use another context: --context NAME."
	case isNoAPIServer(err):
		return Unreachable, "The server does not have this API. Check that its URL is that of a Kubernetes API server: kubectl config view --minify"
	}
	if code, hint := classifyAnswer(err); code != 0 {
		return code, hint
	}
	if code, hint := classifyConfig(err); code != 0 {
		return code, hint
	}
	if hint := connectionHint(err); hint != "" {
		return Unreachable, hint
	}
	return Failed, ""
}

// classifyAnswer returns code and hint of an answer of an API server, 0 for other errors.
func classifyAnswer(err error) (code int, hint string) {
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return Conflict, "The namespace is being deleted. Wait until it is gone, or use another one: -n NAMESPACE"
	case apierrors.IsForbidden(err):
		return Denied, "Ask an administrator of the host for the permission, or use another context: --context NAME."
	case apierrors.IsUnauthorized(err):
		return Denied, "The credentials of the context have expired or are wrong. Log in again, or use another context: --context NAME."
	case apierrors.IsNotFound(err):
		return NotFound, "Look for it with: sublet list -A"
	case apierrors.IsInvalid(err):
		return Usage, "Correct the value that the message names."
	case apierrors.IsInternalError(err):
		return Failed, "The API server of the host failed. Try again, and look at its log if it stays so."
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return Conflict, "Somebody else changes the same object. Try again."
	}
	return 0, ""
}

// connectionHint returns what to do about an error of the connection to a server, empty for other errors.
func connectionHint(err error) string {
	if hint := certificateHint(err); hint != "" {
		return hint
	}
	if isUnreachable(err) {
		return "Check the network, and the server of the context: kubectl config view --minify"
	}
	return ""
}

// isNoAPIServer reports whether an answer that something does not exist has no Status of Kubernetes. It is of
// another server, or the URL lacks a path.
func isNoAPIServer(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// classifyFile returns code and hint of an error of a file. The code is 0 for others.
func classifyFile(err error) (code int, hint string) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return NotFound, "Check the name of the file."
	case errors.Is(err, fs.ErrExist):
		return Conflict, "Name another file, or remove that one."
	case errors.Is(err, fs.ErrPermission):
		return Denied, "Check owner and mode of the file, and of its folder."
	case errors.Is(err, syscall.ENOSPC):
		return Failed, "Free space where the output is written."
	case errors.Is(err, syscall.EROFS):
		return Denied, "The file system is read-only. Use a file of another one."
	}
	return 0, ""
}

// classifyConfig returns code and hint of an error of the kubeconfig, or of another file. The code is 0 for others.
func classifyConfig(err error) (code int, hint string) {
	switch {
	case clientcmd.IsEmptyConfig(err):
		return Usage, "Name a file with --kubeconfig or KUBECONFIG, or write $HOME/.kube/config."
	case clientcmd.IsContextNotFound(err):
		return NotFound, "List the contexts with: kubectl config get-contexts"
	case clientcmd.IsConfigurationInvalid(err):
		return Usage, "Look at the context with: kubectl config view --minify"
	}
	return classifyFile(err)
}

// certificateHint returns what to do about a certificate that cannot be trusted. It is
// empty for other errors.
func certificateHint(err error) string {
	if invalid := (x509.CertificateInvalidError{}); errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return "A certificate has expired, or the clock of this machine is wrong. Compare it with: date -u"
	}
	unknown, hostname := x509.UnknownAuthorityError{}, x509.HostnameError{}
	switch {
	case errors.As(err, &unknown):
		return "The server has another certificate authority than the kubeconfig. Write the context again."
	case errors.As(err, &hostname):
		return "The certificate is for another name. Use that name as server, or set tls-server-name in the context."
	}
	return ""
}

// hasNoCredentials reports whether the plugin or the provider of a user failed to return credentials. client-go has
// no type for that, and returns it as an error of the request.
func hasNoCredentials(err error) bool {
	for _, text := range []string{"getting credentials: ", "failed to refresh token: ", "cannot refresh without refresh-token"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

// isUnreachable reports whether err comes from the network. A request without an answer does, whatever its cause: a
// handshake that times out, a server that speaks no TLS, a connection that is lost.
func isUnreachable(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || apierrors.IsServerTimeout(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err) {
		return true
	}
	operation, lookup := (*net.OpError)(nil), (*net.DNSError)(nil)
	if errors.As(err, &operation) || errors.As(err, &lookup) {
		return true
	}
	if request := (*url.Error)(nil); errors.As(err, &request) && request.Op != "parse" {
		return true
	}
	for _, text := range []string{"connection refused", "no such host", "i/o timeout", "cluster unreachable", "no route to host"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}
