//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sublet-dev/sublet/hostlab"
)

// loadSoftware loads software into the host and returns the folders of its sources, which have
// the manifests of its authors.
func loadSoftware(t *testing.T, all ...hostlab.Software) []string {
	t.Helper()
	host, err := hostlab.New(hostlab.Options{Out: os.Stdout})
	if err != nil {
		t.Fatal(err)
	}
	var folders []string
	for _, software := range all {
		folder, err := host.LoadSoftware(t.Context(), software)
		if err != nil {
			t.Fatal(err)
		}
		folders = append(folders, folder)
	}
	return folders
}

// readManifests returns files of a folder as one manifest. A name may match several files.
func readManifests(t *testing.T, folder string, names ...string) string {
	t.Helper()
	var texts []string
	for _, name := range names {
		files, err := filepath.Glob(filepath.Join(folder, name))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files %s in %s: %v", name, folder, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, string(text))
		}
	}
	return strings.Join(texts, "\n---\n")
}

// applyOnHost applies a manifest on the host until the test ends. Definitions in it may be too
// large for the annotation of kubectl apply. A definition that was just created may still be
// unknown, and a webhook may still have to start.
func applyOnHost(t *testing.T, manifest string) {
	t.Helper()
	t.Cleanup(func() { deleteOnHost(t, manifest) })
	eventually(t, "manifest on the host", func(context.Context) error {
		cmd := hostKubectl("apply", "--server-side", "--force-conflicts", "-f", "-")
		cmd.Stdin = strings.NewReader(manifest)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// deleteOnHost deletes what a manifest names. Whatever is gone already, or has no definition any
// more, is no error.
func deleteOnHost(t *testing.T, manifest string) {
	t.Helper()
	cmd := hostKubectl("delete", "--ignore-not-found", "--timeout="+patience.String(), "-f", "-")
	cmd.Stdin = strings.NewReader(manifest)
	if out, err := cmd.CombinedOutput(); err != nil && !strings.Contains(string(out), "no matches for kind") {
		t.Errorf("cannot delete on the host: %v: %s", err, out)
	}
}

// createHostNamespace creates a namespace on the host until the test ends. If the test fails, it
// prints the logs of the pods in it.
func createHostNamespace(t *testing.T, name string) {
	t.Helper()
	_ = hostKubectl("delete", "namespace", name, "--ignore-not-found", "--timeout="+patience.String()).Run()
	mustRun(t, hostKubectl("create", "namespace", name))
	t.Cleanup(func() {
		if t.Failed() {
			for _, cmd := range []*exec.Cmd{
				hostKubectl("-n", name, "get", "all", "-o", "wide"),
				hostKubectl("-n", name, "get", "events"),
				newCommand("sh", "-c", `for pod in $("$@" get pods -o name); do echo "$pod"; "$@" logs --all-containers --tail 60 "$pod"; done`,
					"sh", "kubectl", "--kubeconfig", hostKubeconfig, "-n", name),
			} {
				out, _ := cmd.CombinedOutput()
				t.Logf("%s\n%s", strings.Join(cmd.Args, " "), out)
			}
		}
		if out, err := hostKubectl("delete", "namespace", name, "--ignore-not-found", "--timeout="+patience.String()).CombinedOutput(); err != nil {
			t.Errorf("cannot delete namespace %s: %v: %s", name, err, out)
		}
	})
}

// installOnHost installs a chart of others on the host until the test ends.
func installOnHost(t *testing.T, release, namespace, chart, values string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o644); err != nil {
		t.Fatal(err)
	}
	uninstall := func() {
		_ = helm("uninstall", release, "-n", namespace, "--ignore-not-found", "--wait", "--timeout", patience.String()).Run()
	}
	uninstall()
	t.Cleanup(uninstall)
	mustRun(t, helm("install", release, chart, "-n", namespace, "-f", file))
}

// awaitRollout waits until deployments of the host have all their pods.
func awaitRollout(t *testing.T, namespace string, deployments ...string) {
	t.Helper()
	for _, name := range deployments {
		mustRun(t, hostKubectl("-n", namespace, "rollout", "status", "deployment/"+name, "--timeout", patience.String()))
	}
}

// admitsFrom returns the value that lets pods of a namespace of the host reach those of a tenant.
func admitsFrom(namespace string) string {
	return `policies.networkPolicy.workload.ingress[0].from[0].namespaceSelector.matchLabels.kubernetes\.io/metadata\.name=` + namespace
}

// changes patches an object as the tenant and waits until its copy, the only one of its kind, has
// the change. Then it deletes the object and waits for the end of the copy.
func (tn *tenant) changes(kind, name, patch, path, want string) {
	tn.t.Helper()
	tn.kubectl("patch", kind, name, "--type=merge", "-p", patch)
	copies := func(form string) func() *exec.Cmd {
		return func() *exec.Cmd { return hostKubectl("-n", tn.namespace, "get", kind, "-o", form) }
	}
	output(tn.t, "change of "+kind+" "+name, want, copies("jsonpath={.items[*]"+path+"}"))
	tn.kubectl("delete", kind, name)
	output(tn.t, "end of the copy of "+kind+" "+name, "", copies("name"))
}
