package hostlab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLocalReplacements(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		text   string
		want   []string
	}{
		"None": {
			reason: "A module without replacements is left as it is.",
			text:   `{"Module": {"Path": "example.org/a"}}`,
		},
		"Folder": {
			reason: "A folder beside the module is not in what the proxy serves.",
			text:   `{"Replace": [{"Old": {"Path": "example.org/a/api"}, "New": {"Path": "./api"}}, {"Old": {"Path": "example.org/b"}, "New": {"Path": "../b"}}]}`,
			want:   []string{"-dropreplace=example.org/a/api", "-dropreplace=example.org/b"},
		},
		"FolderForOneVersion": {
			reason: "A replacement of one version is dropped by its version.",
			text:   `{"Replace": [{"Old": {"Path": "example.org/a", "Version": "v1.0.0"}, "New": {"Path": "/src/a"}}]}`,
			want:   []string{"-dropreplace=example.org/a@v1.0.0"},
		},
		"Module": {
			reason: "A replacement by another module is what the authors meant.",
			text:   `{"Replace": [{"Old": {"Path": "example.org/a"}, "New": {"Path": "example.org/fork", "Version": "v1.0.0"}}]}`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := localReplacements([]byte(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\nlocalReplacements: -want, +got:\n%s", tc.reason, diff)
			}
		})
	}
	if _, err := localReplacements([]byte("module a")); err == nil {
		t.Error("localReplacements takes what is no JSON")
	}
}

func TestOnce(t *testing.T) {
	t.Parallel()
	b := builder{bin: t.TempDir()}
	binary := filepath.Join(b.bin, "tool")
	built := 0
	build := func() error {
		built++
		return os.WriteFile(binary, nil, 0o755)
	}
	for _, step := range []struct {
		reason string
		from   string
		before func() error
		want   int
	}{
		{"What is missing is built.", "v1", nil, 1},
		{"What is there is not built again.", "v1", nil, 1},
		{"Another version is built.", "v2", nil, 2},
		{"What somebody removed is built.", "v2", func() error { return os.Remove(binary) }, 3},
	} {
		if step.before != nil {
			if err := step.before(); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.buildOnce("tool", step.from, []string{"tool"}, build); err != nil {
			t.Fatal(err)
		}
		if built != step.want {
			t.Errorf("%s: built %d times, want %d", step.reason, built, step.want)
		}
	}
	broken := errors.New("broken")
	if err := b.buildOnce("tool", "v3", []string{"tool"}, func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("once returns %v, want the build's error", err)
	}
	if err := b.buildOnce("tool", "v3", []string{"tool"}, build); err != nil || built != 4 {
		t.Errorf("built %d times, want 4: a build that failed is tried again (%v)", built, err)
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sum := func() string {
		s, err := digestFiles(filepath.Join(dir, "go.mod"), dir)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	write("go.mod", "module a")
	write("a.go", "package a")
	first := sum()
	write("notes.txt", "no matter")
	if sum() != first {
		t.Error("a file that is no source changed the digest")
	}
	write("a.go", "package b")
	second := sum()
	write("go.mod", "module b")
	if second == first || sum() == second {
		t.Error("a changed source or go.mod left the digest as it was")
	}
}

func TestVersionFlags(t *testing.T) {
	t.Parallel()
	got := versionFlags("v1.37.1")
	for _, want := range []string{".gitVersion=v1.37.1", ".gitMajor=1", ".gitMinor=37", "-s -w"} {
		if !strings.Contains(got, want) {
			t.Errorf("versionFlags = %q, want %q in it", got, want)
		}
	}
}

func TestModulesArePinned(t *testing.T) {
	t.Parallel()
	for _, m := range modules() {
		if !strings.HasPrefix(m.version, "v") || len(m.binaries) == 0 || len(m.packages) == 0 {
			t.Errorf("module %s: version %q, packages %v, binaries %v; none may be missing", m.name, m.version, m.packages, m.binaries)
		}
		if len(m.binaries) > 1 && len(m.binaries) != len(m.packages) {
			t.Errorf("module %s: %d packages make %d binaries", m.name, len(m.packages), len(m.binaries))
		}
		if strings.Contains(m.ldflags, "ersion=") && !strings.Contains(m.ldflags, strings.TrimPrefix(m.version, "v")) &&
			!strings.Contains(m.ldflags, m.version) {
			t.Errorf("module %s tells another version than %s: %s", m.name, m.version, m.ldflags)
		}
	}
}

func TestMakeWritable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "script")
	if err := os.WriteFile(file, nil, 0o555); err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(dir, makeWritable); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o755 {
		t.Errorf("mode %o, want 755: writable, and as executable as before", mode)
	}
}
