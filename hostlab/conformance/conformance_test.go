package conformance

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/hostlab/oci"
)

func TestParseReport(t *testing.T) {
	t.Parallel()
	report := `[{"SpecReports": [
		{"LeafNodeType": "BeforeSuite", "State": "passed"},
		{"ContainerHierarchyTexts": ["[sig-apps] Job"], "LeafNodeType": "It", "LeafNodeText": "should run", "State": "passed", "RunTime": 1500000000},
		{"ContainerHierarchyTexts": ["[sig-apps] Job"], "LeafNodeType": "It", "LeafNodeText": "should fail", "State": "failed", "Failure": {"Message": "no pod"}},
		{"LeafNodeType": "It", "LeafNodeText": "not chosen", "State": "skipped"},
		{"LeafNodeType": "It", "LeafNodeText": "cannot run here", "State": "skipped", "Failure": {"Message": "needs two nodes"}},
		{"LeafNodeType": "It", "LeafNodeText": "cut off", "State": "interrupted", "Failure": {"Message": "timeout"}},
		{"LeafNodeType": "It", "LeafNodeText": "too late", "State": "timedout", "Failure": {"Message": "A suite timeout occurred"}},
		{"LeafNodeType": "It", "LeafNodeText": "never run", "State": "pending"}
	]}]`
	got, err := parseReport([]byte(report))
	if err != nil {
		t.Fatal(err)
	}
	want := Results{
		"[sig-apps] Job should run":  {State: "passed", Seconds: 1.5},
		"[sig-apps] Job should fail": {State: "failed", Message: "no pod"},
		"cannot run here":            {State: "skipped", Message: "needs two nodes"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
	if _, err := parseReport([]byte("{")); err == nil {
		t.Error("a broken report gives no error")
	}
}

func TestArguments(t *testing.T) {
	t.Parallel()
	suite := Suite{Dir: "/suite"}
	for _, c := range []struct {
		reason  string
		options Options
		want    []string
	}{
		{"without options", Options{}, []string{"--label-filter=Conformance && !Serial", "--procs=12", "--timeout=1h0m0s"}},
		{"the serial specs run alone", Options{Serial: true, Processes: 4}, []string{"--label-filter=Conformance && Serial", "--procs=1"}},
		{"a choice", Options{Focus: "a", Skip: "b"}, []string{"--focus=a", "--skip=b"}},
	} {
		got := suite.arguments("/run", "/kubeconfig", c.options)
		for _, want := range append(c.want, "/suite/bin/e2e.test", "--kubeconfig=/kubeconfig") {
			if !slices.Contains(got, want) {
				t.Errorf("%s: %q lacks %q", c.reason, got, want)
			}
		}
	}
}

func TestResultsAddUp(t *testing.T) {
	t.Parallel()
	suite := Suite{Dir: t.TempDir()}
	for _, run := range []Results{{"a": {State: "failed"}, "b": {State: passed}}, {"a": {State: passed}, "c": {State: "skipped"}}} {
		if err := suite.Store("host", run); err != nil {
			t.Fatal(err)
		}
	}
	got, err := suite.Load("host")
	if err != nil {
		t.Fatal(err)
	}
	want := Results{"a": {State: passed}, "b": {State: passed}, "c": {State: "skipped"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	host := Results{
		"[sig-apps] Job should run [Conformance]":                  {State: passed},
		"[sig-apps] Job should fail on one node [Conformance]":     {State: "failed", Message: "one node\nmore"},
		"[sig-network] Service should differ [Conformance]":        {State: passed},
		"[sig-network] Service should run twice [Conformance]":     {State: passed},
		"[sig-network] Service needs another node [Conformance]":   {State: "skipped", Message: "two nodes"},
		"[sig-network] Service runs on the host [Conformance]":     {State: passed},
		"[sig-network] Service not run on both, as it is skipped ": {State: "skipped"},
	}
	virtual := Results{
		"[sig-apps] Job should run [Conformance]":                {State: passed},
		"[sig-apps] Job should fail on one node [Conformance]":   {State: "failed", Message: "one node"},
		"[sig-network] Service should differ [Conformance]":      {State: "timedout", Message: "never ready"},
		"[sig-network] Service should run twice [Conformance]":   {State: passed},
		"[sig-network] Service needs another node [Conformance]": {State: "skipped", Message: "two nodes"},
	}
	var out strings.Builder
	if err := WriteTable(&out, host, virtual); err != nil {
		t.Fatal(err)
	}
	want := `| SIG | host passes | virtual passes |
|---|---|---|
| sig-apps | 1 of 2 | 1 of 2 |
| sig-network | 3 of 5, 2 skipped | 1 of 3, 1 skipped |
| all | 4 of 7, 2 skipped | 2 of 5, 1 skipped |

- [sig-apps] Job should fail on one node
  host: failed; virtual: failed. one node
- [sig-network] Service needs another node
  host: skipped; virtual: skipped. two nodes
- [sig-network] Service not run on both, as it is skipped
  host: skipped; virtual: not run.
- [sig-network] Service should differ
  host: passed; virtual: timedout. never ready
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
}

func TestKnownReason(t *testing.T) {
	t.Parallel()
	for part, want := range knownFailures() {
		if got := reason("[sig-x] "+part+" [Conformance]", "another message"); got != want {
			t.Errorf("%s: %q, want %q", part, got, want)
		}
	}
	if got := reason("[sig-x] y", "", strings.Repeat("é", 300)); len([]rune(got)) > 210 {
		t.Errorf("a long message is not cut: %q", got)
	}
}

// TestBounded checks that the specs of the bounded form exist and run at the same time.
// They are of every SIG but architecture, whose one spec wants two nodes.
func TestBounded(t *testing.T) {
	t.Parallel()
	source, err := output(exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(strings.TrimSpace(source), "test", "conformance", "testdata", "conformance.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var specs []struct {
		Name string `json:"codename"`
	}
	if err := yaml.Unmarshal(data, &specs); err != nil {
		t.Fatal(err)
	}
	known, missing := map[string]bool{}, map[string]bool{}
	for _, spec := range specs {
		known[spec.Name] = true
		missing[sigOf(spec.Name)] = true
	}
	delete(missing, "sig-architecture")
	names := Bounded()
	for _, name := range names {
		if !known[name] || strings.Contains(name, "[Serial]") {
			t.Errorf("no spec that runs with others has the name %q", name)
		}
		delete(missing, sigOf(name))
	}
	if unique := slices.Compact(slices.Sorted(slices.Values(names))); len(unique) != 30 {
		t.Errorf("%d specs, want 30", len(unique))
	}
	if len(missing) > 0 {
		t.Errorf("no spec of %v", slices.Sorted(maps.Keys(missing)))
	}
}

func TestFocusOn(t *testing.T) {
	t.Parallel()
	focus := regexp.MustCompile(FocusOn([]string{"[sig-x] a (b) c.", "d"}))
	for name, want := range map[string]bool{"[sig-x] a (b) c.": true, "d": true, "[sig-x] a (b) cd": false, "dd": false} {
		if got := focus.MatchString("Kubernetes e2e suite " + name); got != want {
			t.Errorf("%q matches: %v, want %v", name, got, want)
		}
	}
}

func TestCheckPassed(t *testing.T) {
	t.Parallel()
	results := Results{"a": {State: passed}, "b": {State: "failed", Message: "no pod"}, "c": {State: "skipped"}}
	if err := results.CheckPassed([]string{"a"}); err != nil {
		t.Error(err)
	}
	err := results.CheckPassed([]string{"a", "b", "c", "d"})
	for _, want := range []string{"3 of 4 specs", "failed: b no pod", "skipped: c", "not run: d"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error %v lacks %q", err, want)
		}
	}
}

func TestParseLibraries(t *testing.T) {
	t.Parallel()
	text := "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n"
	want := []string{"/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"}
	if diff := cmp.Diff(want, parseLibraries(text)); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
}

func TestControlPlaneMemory(t *testing.T) {
	t.Parallel()
	summary := `{"pods": [
		{"podRef": {"name": "other-0", "namespace": "conformance"}, "containers": [{"memory": {"rssBytes": 7}}]},
		{"podRef": {"name": "conformance-0", "namespace": "conformance"}, "containers": [{"memory": {"rssBytes": 40}}, {"memory": {"rssBytes": 2}}]}]}`
	if got := controlPlaneMemory([]byte(summary)); got != 42 {
		t.Errorf("%d, want 42", got)
	}
	if got := controlPlaneMemory([]byte("no JSON")); got != 0 {
		t.Errorf("of no summary: %d, want 0", got)
	}
}

func TestMissingFolders(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	var names []string
	for _, file := range []string{"lib/x/a", "lib/x/b", "usr/lib/c"} {
		for _, folder := range missingFolders(known, file) {
			names = append(names, folder.Name)
		}
	}
	if diff := cmp.Diff([]string{"lib/", "lib/x/", "usr/lib/"}, names); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
}

func TestAssemble(t *testing.T) {
	t.Parallel()
	pages := t.TempDir()
	for _, page := range []string{
		"kitten/html/kitten.jpg", "kitten/html/data.json", "nautilus/html/nautilus.jpg", "nautilus/html/data.json",
		"agnhost/porter/localhost.crt", "agnhost/porter/localhost.key",
	} {
		file := filepath.Join(pages, page)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	programs := map[string]oci.File{}
	for _, name := range []string{"agnhost", "nnp", "consumer", "consume-cpu", "pause", "sample-apiserver", "etcd"} {
		programs[name] = oci.File{Name: name, Data: []byte(name), Mode: 0o755}
	}
	recipes, err := assemble([]oci.File{{Name: "bin/", Mode: 0o755}, {Name: "bin/sh", Link: "busybox"}}, nil, programs, pages)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"agnhost":    {"bin/", "bin/sh", "agnhost", "agnhost-2", "uploads/", "etc/os-release", "localhost.crt", "localhost.key"},
		"busybox":    {"bin/", "bin/sh"},
		"kitten":     {"bin/", "bin/sh", "agnhost", "agnhost-2", "uploads/", "etc/os-release", "localhost.crt", "localhost.key", "kitten.jpg", "data.json"},
		"nonewprivs": {"bin/", "bin/sh", "usr/local/bin/nnp"},
		"pause":      {"pause"},
	} {
		if diff := cmp.Diff(want, imageFiles(t, recipes[name])); diff != "" {
			t.Errorf("%s: -want, +got:\n%s", name, diff)
		}
	}
	checkNames(t, recipes)
}

// checkNames names images, one of which has no recipe.
func checkNames(t *testing.T, recipes map[string]recipe) {
	t.Helper()
	images, err := nameImages([]string{"a/busybox:1", "a/unknown:1", "a/busybox:2"}, recipes)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{} // digest -> name
	for _, image := range images {
		digest, err := image.Image.(v1.Image).Digest()
		if err != nil {
			t.Fatal(err)
		}
		names[digest.String()] = image.Name
	}
	got := slices.Sorted(maps.Values(names))
	if diff := cmp.Diff([]string{"a/busybox:1", "a/busybox:2"}, got); diff != "" {
		t.Errorf("names of images with a digest of their own: -want, +got:\n%s", diff)
	}
}

func imageFiles(t *testing.T, r recipe) []string {
	t.Helper()
	image, err := r.image()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for reader := tar.NewReader(bytes.NewReader(data)); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
}

func TestVersionFlags(t *testing.T) {
	t.Parallel()
	if got := versionFlags("v1.37.1"); !strings.Contains(got, "gitVersion=v1.37.1 ") || !strings.Contains(got, "gitMinor=37 ") {
		t.Errorf("got %q", got)
	}
}
