package config

import "testing"

func TestSuggest(t *testing.T) {
	t.Parallel()
	known := []string{"configMaps", "endpointSlices", "persistentVolumeClaims", "secrets", "services"}
	cases := map[string]struct{ reason, want string }{
		"service":                {"a letter is missing", "services"},
		"configmaps":             {"the case is another", "configMaps"},
		"secretes":               {"a letter too many", "secrets"},
		"endpoints":              {"vCluster's name has another length", ""},
		"persistentVolumeClaim":  {"a letter is missing", "persistentVolumeClaims"},
		"pods":                   {"nothing is near", ""},
		"":                       {"nothing is near", ""},
		"ingresses":              {"nothing is near", ""},
		"persistantVolumeClames": {"two letters are others", "persistentVolumeClaims"},
	}
	for key, c := range cases {
		if got := suggest(key, known); got != c.want {
			t.Errorf("suggest(%q) = %q, want %q: %s", key, got, c.want, c.reason)
		}
	}
}

func TestEdits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"kitten", "sitting", 3}, {"abc", "abc", 0}, {"ab", "ba", 2}} {
		if got := edits(c.a, c.b); got != c.want {
			t.Errorf("edits(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
