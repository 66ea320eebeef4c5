package fault

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestClassify checks the exit code and the hint of errors that no wrong input causes in a test.
func TestClassify(t *testing.T) {
	t.Parallel()
	terminating := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "a", errors.New("it is being terminated"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	get := func(cause error) error { return &url.Error{Op: "Get", URL: "https://host.example", Err: cause} }
	pathError := func(cause error) error { return &os.PathError{Op: "write", Path: "a", Err: cause} }
	for name, c := range map[string]struct {
		err  error
		code int
		hint string
	}{
		"TerminatingNamespace": {terminating, Conflict, "The namespace is being deleted"},
		"NoAPIServer":          {apierrors.NewGenericServerResponse(404, "get", schema.GroupResource{Resource: "pods"}, "", "<html>", 0, true), Unreachable, "that of a Kubernetes API server"},
		"Missing":              {apierrors.NewGenericServerResponse(404, "get", schema.GroupResource{Resource: "pods"}, "a", "", 0, false), NotFound, "sublet list -A"},
		"Invalid":              {apierrors.NewInvalid(schema.GroupKind{Kind: "Namespace"}, "No_Such", nil), Usage, "Correct the value"},
		"ExistingFile":         {pathError(syscall.EEXIST), Conflict, "another file"},
		"FullDisk":             {pathError(syscall.ENOSPC), Failed, "Free space"},
		"ReadOnly":             {pathError(syscall.EROFS), Denied, "read-only"},
		"SilentHandshake":      {get(errors.New("net/http: TLS handshake timeout")), Unreachable, "Check the network"},
		"LostConnection":       {get(errors.New("http2: client connection lost")), Unreachable, "Check the network"},
		"NoTLS":                {get(errors.New("http: server gave HTTP response to HTTPS client")), Unreachable, "Check the network"},
		"NoAddress":            {&url.Error{Op: "parse", URL: "https://a:b:c", Err: errors.New("too many colons")}, Failed, ""},
		"NoPlugin":             {get(errors.New("getting credentials: exec: executable login not found")), Denied, "Log in again"},
		"ExpiredLogin":         {get(errors.New("failed to refresh token: oauth2: \"invalid_grant\"")), Denied, "Log in again"},
		"Interrupted":          {get(context.Canceled), Interrupted, ""},
		"NoPermission":         {pathError(syscall.EACCES), Denied, "Check owner and mode of the file, and of its folder."},
	} {
		code, hint := Classify(fmt.Errorf("cannot do it: %w", c.err))
		if code != c.code || !strings.Contains(hint, c.hint) {
			t.Errorf("%s: exit code %d, hint %q", name, code, hint)
		}
	}
}
