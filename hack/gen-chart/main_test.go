package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

func TestCheckFindsWhatIsStale(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	types, err := filepath.Abs("../../api")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(types, filepath.Join(root, "api")); err != nil {
		t.Fatal(err)
	}
	if err := run(root, true); err == nil {
		t.Fatal("nothing is there, and all is said to be up to date")
	}
	if _, err := os.Stat(filepath.Join(root, "chart")); err == nil {
		t.Fatal("--check writes")
	}
	if err := run(root, false); err != nil {
		t.Fatal(err)
	}
	if err := run(root, true); err != nil {
		t.Fatalf("what was just written is not up to date: %v", err)
	}
	page := filepath.Join(root, "docs/reference/values.md")
	if err := os.WriteFile(page, []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(root, true); err == nil || !strings.Contains(err.Error(), "1 files") {
		t.Errorf("a changed page: %v", err)
	}
}

func TestSplitDefault(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason, comment string
		fallback        any
		want, wantErr   string
	}{
		"good":    {"the line is not shown", "size is big.\nDefault: 5Gi", "5Gi", "size is big.", ""},
		"wrong":   {"comments must not lie", "size is big.\nDefault: 6Gi", "5Gi", "", "it is 5Gi"},
		"missing": {"operators read it", "size is big.", "5Gi", "", `must be "Default: 5Gi"`},
		"places":  {"one type, several places", "size is big.\nDefault: disk 1, claim 5", float64(5), "size is big.", ""},
		"elsewhere": {"this place is not named", "size is big.\nDefault: disk 5, other 1", float64(5), "",
			"it is 5"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := splitDefault(setting{path: []string{"claim", "size"}, fallback: c.fallback}, c.comment)
			if got != c.want || (err == nil) != (c.wantErr == "") || err != nil && !strings.Contains(err.Error(), c.wantErr) {
				t.Errorf("%s: got %q, %v", c.reason, got, err)
			}
		})
	}
}

func TestFlow(t *testing.T) {
	t.Parallel()
	value := map[string]any{"b": []any{"x", float64(1)}, "a": map[string]any{}, "c": "true", "d": true, "e": nil}
	if got, want := flow(value), `{a: {}, b: [x, 1], c: "true", d: true, e: null}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestWrap(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff([]string{"one two", "three", "verylongword", "x"}, wrap("one two three verylongword x", 8)); diff != "" {
		t.Error(diff)
	}
}

// TestNever checks that the messages in patterns are expressions that match
// nothing, not even themselves.
func TestNever(t *testing.T) {
	t.Parallel()
	texts := []string{"", "a (b) [c] {d,1} *.e f? g+ h|i", `a\b`}
	for _, format := range v1alpha1.Formats() {
		texts = append(texts, format.Want)
	}
	for _, text := range texts {
		pattern, err := regexp.Compile(never(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		for _, value := range []string{text, "a", text + "\n" + text} {
			if value != "" && pattern.MatchString(value) {
				t.Errorf("%s matches %q", pattern, value)
			}
		}
	}
}

// TestKindSettings checks that each kind has its settings at its path, with the default
// of the table.
func TestKindSettings(t *testing.T) {
	t.Parallel()
	settings, err := load("../../api/config/v1alpha1")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]setting{}
	var walk func([]setting)
	walk = func(settings []setting) {
		for _, s := range settings {
			found[strings.Join(s.path, ".")] = s
			walk(s.children)
		}
	}
	walk(settings)
	for _, row := range kinds.Table() {
		if doc := found[row.Setting].doc; doc != row.Doc {
			t.Errorf("%s: its comment is %q", row.Setting, doc)
		}
		s, ok := found[row.Setting+".enabled"]
		if always := row.State == kinds.Always; ok == always || ok && s.fallback != (row.State == kinds.On) {
			t.Errorf("%s: its key enabled is %v by default (%t)", row.Setting, s.fallback, ok)
		}
	}
}

// TestRequired checks that what may be empty is not required.
func TestRequired(t *testing.T) {
	t.Parallel()
	settings := []setting{{key: "a", path: []string{"a"}, children: []setting{
		{key: "b", path: []string{"a", "b"}, fallback: true, kind: reflect.TypeFor[bool]()},
		{key: "c", path: []string{"a", "c"}, fallback: map[string]any{}},
		{key: "d", path: []string{"a", "d"}, fallback: []any{"x"}},
		{key: "e", path: []string{"a", "e"}, fallback: []any{}},
	}}}
	if diff := cmp.Diff([]string{"a", "a.b", "a.d"}, required(settings)); diff != "" {
		t.Error(diff)
	}
}
