package cli_test

import (
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/release"
)

// TestLogsOfSeveralPods prints the logs of the pods that have one. The pod without is named, and the
// command fails.
func TestLogsOfSeveralPods(t *testing.T) {
	t.Parallel()
	split := release.Release{Name: "split", Namespace: "tenant-split"}
	reached := make(chan struct{})
	answer := func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.HasSuffix(r.URL.Path, "/split-controllers-0/log"):
			writeError(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, "previous terminated container \"sublet\" in pod \"split-controllers-0\" not found")
			close(reached)
			return true
		case strings.HasSuffix(r.URL.Path, "/split-0/log"):
			<-reached
			// Half a line is not printed yet when the other pod has failed.
			_, _ = w.Write([]byte("first\nsec"))
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write([]byte("ond\n"))
			return true
		}
		return false
	}
	file := kubeconfigOf(t, "east", map[string]*fakeHost{"east": newFakeHost(t, answer, split)})
	out, errOut, code := runSublet(t, file, "logs", "split", "--previous", "--since", "100ms")
	if want := "split-0 first\nsplit-0 second\n"; out != want || code != 1 {
		t.Errorf("exit code %d, printed %q, want %q", code, out, want)
	}
	for _, want := range []string{"cannot get the log of pod tenant-split/split-controllers-0: previous terminated container", "cannot print the logs of 1 of 2 pods"} {
		if !strings.Contains(errOut, want) {
			t.Errorf("errors lack %q:\n%s", want, errOut)
		}
	}
}
