package dns

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestNodeSearches checks which domains of a resolv.conf are those of the node.
func TestNodeSearches(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		file   string
		want   []string
	}{
		"InAPod": {
			reason: "the domains of the host's cluster come first",
			file:   "search shop.svc.host.example svc.host.example host.example corp.example lab.corp.example",
			want:   []string{"corp.example", "lab.corp.example"},
		},
		"OnANode":  {reason: "a control plane outside of pods has the node's file", file: "search corp.example", want: []string{"corp.example"}},
		"Own":      {reason: "the usual domain of clusters is never the node's", file: "search cluster.local corp.example", want: []string{"corp.example"}},
		"Unusable": {reason: "a host may refuse pods with other names", file: "search . corp_x.example corp.example.", want: []string{"corp.example."}},
		"None":     {reason: "a node need not have any", file: "nameserver 192.0.2.1", want: []string{}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "resolv.conf")
			if err := os.WriteFile(path, []byte(tc.file+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, NodeSearches(path)); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
	if got := NodeSearches(filepath.Join(t.TempDir(), "missing")); got != nil {
		t.Errorf("a file that is missing has %v", got)
	}
}
