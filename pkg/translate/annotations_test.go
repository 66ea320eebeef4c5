package translate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

func TestSyncAnnotations(t *testing.T) {
	t.Parallel()
	passes := func(key, value string) bool { return !strings.HasPrefix(key, "x/") && value != "bad" }
	for _, test := range []struct {
		reason              string
		host, virtual, want map[string]string
	}{
		{reason: "nothing passes"},
		{
			reason: "what passes is recorded", virtual: map[string]string{"b": "2", "a": "1", "x/c": "3", "d": "bad"},
			want: map[string]string{"a": "1", "b": "2", labels.CopiedAnnotations: "a,b"},
		},
		{
			reason: "what the host wrote stays", host: map[string]string{"pool": "blue", labels.VirtualUID: "u"},
			virtual: map[string]string{"a": "1"},
			want:    map[string]string{"pool": "blue", labels.VirtualUID: "u", "a": "1", labels.CopiedAnnotations: "a"},
		},
		{
			reason:  "a removed and a changed one follow",
			host:    map[string]string{"pool": "blue", "a": "1", "b": "1", labels.CopiedAnnotations: "a,b"},
			virtual: map[string]string{"b": "2"},
			want:    map[string]string{"pool": "blue", "b": "2", labels.CopiedAnnotations: "b"},
		},
		{
			reason: "a value that no longer passes goes", host: map[string]string{"a": "1", labels.CopiedAnnotations: "a"},
			virtual: map[string]string{"a": "bad"}, want: map[string]string{},
		},
		{
			reason: "Sublet's own keys are nobody's to set", host: map[string]string{labels.VirtualUID: "u"},
			virtual: map[string]string{labels.VirtualUID: "forged", labels.CopiedAnnotations: "x", "t.sublet.dev/a": "b"},
			want:    map[string]string{labels.VirtualUID: "u"},
		},
	} {
		got := SyncAnnotations(test.host, test.virtual, passes)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.reason, diff)
		}
	}
}

// TestCopiedLabels checks which labels keep their key on the host, and that those of the host
// stay.
func TestCopiedLabels(t *testing.T) {
	t.Parallel()
	cluster := Cluster{Name: "shop"}
	all := func(string) bool { return true }
	tests := map[string]struct {
		reason        string
		host, virtual map[string]string
		copied        string
		passes        func(string) bool
		want          map[string]string
		wantCopied    string
	}{
		"Passes": {
			reason: "keys without a domain, of others and recommended ones are everybody's", passes: all,
			virtual: map[string]string{"team": "a", "example.com/x": "1", "app.kubernetes.io/name": "web"},
			want:    map[string]string{"team": "a", "example.com/x": "1", "app.kubernetes.io/name": "web"}, wantCopied: "app.kubernetes.io/name,example.com/x,team",
		},
		"Reserved": {
			reason: "parts of Kubernetes act on their keys", passes: all,
			virtual: map[string]string{"kubernetes.io/service-name": "x", "service.kubernetes.io/headless": "", "x.k8s.io/a": "", "sublet.dev/cluster": "", "t.sublet.dev/a": ""},
			want:    map[string]string{},
		},
		"Instance": {
			reason: "a ServiceMonitor would take the object for the release's", passes: all,
			virtual: map[string]string{"app.kubernetes.io/instance": "shop", "app.kubernetes.io/name": "sublet", "team": "a"},
			want:    map[string]string{"team": "a"}, wantCopied: "team",
		},
		"Hosts": {
			reason: "a label that the host has set stays", passes: all,
			host: map[string]string{"pool": "blue"}, virtual: map[string]string{"pool": "mine"}, want: map[string]string{"pool": "blue"},
		},
		"Withdrawn": {
			reason: "one that no longer passes goes, and others stay", passes: func(string) bool { return false },
			host: map[string]string{"pool": "blue", "team": "a"}, copied: "team", virtual: map[string]string{"team": "a"}, want: map[string]string{"pool": "blue"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Labels: test.host}}
			if host.Labels == nil {
				host.Labels = map[string]string{}
			}
			if test.copied != "" {
				host.Annotations = map[string]string{labels.CopiedLabels: test.copied}
			}
			for range 2 {
				DropCopiedLabels(host)
				AddCopiedLabels(cluster, host, test.virtual, test.passes)
				if diff := cmp.Diff(test.want, host.Labels); diff != "" || host.Annotations[labels.CopiedLabels] != test.wantCopied {
					t.Errorf("%s: recorded are %q (-want +got):\n%s", test.reason, host.Annotations[labels.CopiedLabels], diff)
				}
			}
		})
	}
}
