package controlplane

import (
	"slices"
	"strings"
	"testing"
)

// TestHooks lists the hooks of a start. Upstream ends the process if one returns an
// error, also if it is only stopped. A new one fails this test until somebody has looked
// at what it returns: when it fails, when it takes long, when its context ends.
func TestHooks(t *testing.T) {
	t.Parallel()
	p := launch(t, Config{})
	_, verbose := p.get(t, "/readyz?verbose")
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
		"apiservice-discovery-controller",
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
