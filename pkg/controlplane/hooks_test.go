package controlplane

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestHooks lists the hooks of a start. Upstream ends the process if one returns an
// error, also if it is only stopped. A new one fails this test until somebody has looked
// at what it returns: when it fails, when it takes long, when its context ends.
func TestHooks(t *testing.T) {
	t.Parallel()
	p := startPlane(t, Config{})
	var verbose string
	// The authorizer may learn of the role of this path a moment after the role is there.
	eventually(t, "the state of the hooks", func(context.Context) string {
		var code int
		if code, verbose = p.get(t, "/readyz?verbose"); code != http.StatusOK {
			return fmt.Sprintf("code %d: %s", code, verbose)
		}
		return ""
	})
	var got []string
	for line := range strings.Lines(verbose) {
		if _, name, ok := strings.Cut(line, "poststarthook/"); ok {
			name, _, _ = strings.Cut(name, " ")
			got = append(got, name)
		}
	}
	slices.Sort(got)
	want := []string{
		"aggregator-reload-proxy-client-cert",
		"apiservice-registration-controller",
		"apiservice-status-local-available-controller",
		"apiservice-status-remote-available-controller",
		"bootstrap-controller",
		"crd-informer-synced", // see awaitCustomResources
		"generic-apiserver-start-informers",
		"kube-apiserver-autoregistration",
		"priority-and-fairness-config-consumer",
		"priority-and-fairness-filter",
		"start-apiextensions-controllers",
		"start-apiextensions-informers",
		"start-apiserver-admission-initializer",
		"start-cluster-authentication-info-controller",
		"start-kube-aggregator-informers",
		"start-legacy-token-tracking-controller",
		"start-system-namespaces-controller",
		"storage-object-count-tracker-hook",
		"storage-readiness",
		"sublet/bootstrap",
		"sublet/openapi",
		"sublet/tasks",
	}
	if !slices.Equal(got, want) {
		t.Errorf("hooks: got %q, want %q", got, want)
	}
}
