package fault

import (
	"errors"
	"fmt"
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
		"NoPermission":         {pathError(syscall.EACCES), Denied, "Check owner and mode of the file, and of its folder."},
	} {
		code, hint := Classify(fmt.Errorf("cannot do it: %w", c.err))
		if code != c.code || !strings.Contains(hint, c.hint) {
			t.Errorf("%s: exit code %d, hint %q", name, code, hint)
		}
	}
}
