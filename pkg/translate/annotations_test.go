package translate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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
