package manifests

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/common"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// bundle returns the archive of a chart in base64.
func bundle(t *testing.T, files map[string]string) string {
	t.Helper()
	var archive bytes.Buffer
	compressed := gzip.NewWriter(&archive)
	writer := tar.NewWriter(compressed)
	for name, text := range files {
		if err := writer.WriteHeader(&tar.Header{Name: "web/" + name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := compressed.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(archive.Bytes())
}

// inCluster returns a cluster of version 1.37.
func inCluster() (*common.Capabilities, error) {
	capabilities := common.DefaultCapabilities.Copy()
	version, err := common.ParseKubeVersion("v1.37.1")
	capabilities.KubeVersion, capabilities.APIVersions = *version, []string{"v1", "example.com/v1/Widget"}
	return capabilities, err
}

const (
	metadata = "apiVersion: v2\nname: web\nversion: 1.2.3\n"
	webhook  = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: web}\n"
	workload = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}, labels: {fast: "{{ .Values.fast }}"}, annotations: {namespace: {{ .Release.Namespace }}}}
---
{{- if .Capabilities.APIVersions.Has "example.com/v1/Widget" }}
{{- include "account" . }}
{{- end }}
`
	partial = `{{ define "account" }}
apiVersion: v1
kind: ServiceAccount
metadata: {name: {{ .Values.account }}}
{{- end }}`
	test = "apiVersion: v1\nkind: Pod\nmetadata: {name: test, annotations: {helm.sh/hook: test}}\n"
	job  = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: first, annotations: {helm.sh/hook: \"pre-upgrade, pre-install\"}}\n"
	crd  = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: widgets.example.com}\n"
)

// namesOf returns kind and name of objects.
func namesOf(objects []*unstructured.Unstructured) []string {
	var names []string
	for _, object := range objects {
		names = append(names, object.GetKind()+"/"+object.GetName())
	}
	return names
}

func TestChart(t *testing.T) {
	t.Parallel()
	source := Chart("helm[0]", v1alpha1.DeployChart{
		Bundle: bundle(t, map[string]string{
			"Chart.yaml": metadata, "values.yaml": "fast: false\naccount: runner\n", "templates/a-webhook.yaml": webhook, "templates/b.yaml": workload,
			"templates/_account.tpl": partial, "templates/tests/test.yaml": test, "templates/NOTES.txt": "Have fun.", "crds/widgets.yaml": crd,
		}),
		Chart:   v1alpha1.DeployChartSource{Name: "web", Version: "1.2.3"},
		Release: v1alpha1.DeployChartRelease{Namespace: "shop"}, Values: "fast: true",
	}, inCluster)
	objects, err := source.Read()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Namespace/shop", "CustomResourceDefinition/widgets.example.com", "ServiceAccount/runner", "Deployment/web", "ValidatingWebhookConfiguration/web",
	}
	if diff := cmp.Diff(want, namesOf(objects)); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	deployment := objects[3]
	if diff := cmp.Diff(map[string]string{"fast": "true", managedBy: "Helm"}, deployment.GetLabels()); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	owner := map[string]string{"namespace": "shop", releaseName: "web", releaseNamespace: "shop"}
	if diff := cmp.Diff(owner, deployment.GetAnnotations()); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	if source.Namespace != "shop" {
		t.Errorf("objects without a namespace are in %s", source.Namespace)
	}
}

// TestWrongChart reads charts that cannot be installed.
func TestWrongChart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason, bundle, values, version, want string
	}{
		{"A hook of the installation", bundle(t, map[string]string{"Chart.yaml": metadata, "templates/job.yaml": job}), "", "", "Job first is the hook pre-install"},
		{"Another version", bundle(t, map[string]string{"Chart.yaml": metadata}), "", "2.0.0", "it is web 1.2.3, not web 2.0.0"},
		{"Another Kubernetes", bundle(t, map[string]string{"Chart.yaml": metadata + "kubeVersion: <1.30.0\n"}), "", "", "needs Kubernetes <1.30.0, and this is v1.37.1"},
		{"A library", bundle(t, map[string]string{"Chart.yaml": metadata + "type: library\n"}), "", "", "a library has no objects"},
		{"Values that are none", bundle(t, map[string]string{"Chart.yaml": metadata}), "- a", "", "cannot read values"},
		{"Values that the schema refuses", bundle(t, map[string]string{"Chart.yaml": metadata, "values.schema.json": `{"required": ["fast"]}`}), "a: b", "", "cannot use values"},
		{"A template that fails", bundle(t, map[string]string{"Chart.yaml": metadata, "templates/a.yaml": `{{ fail "set account" }}`}), "", "", "set account"},
		{"A template that is no YAML", bundle(t, map[string]string{"Chart.yaml": metadata, "templates/a.yaml": "a: b: c"}), "", "", "web/templates/a.yaml: cannot read document 1"},
		{"No archive", "aGVsbG8=", "", "", "cannot read the chart"},
		{"No base64", "a", "", "", "cannot decode bundle"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			source := Chart("helm[0]", v1alpha1.DeployChart{Bundle: c.bundle, Values: c.values, Chart: v1alpha1.DeployChartSource{Version: c.version}}, inCluster)
			objects, err := source.Read()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("it is %v with %v, want %q", err, namesOf(objects), c.want)
			}
		})
	}
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	text := `
{{- range $i := until (int .Values.count) }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ $.Release.Namespace }}-{{ $.Release.Name }}-{{ $i }}"}
{{- end }}`
	values := map[string]any{"count": int64(2)}
	objects, err := Template("manifestsTemplate", text, Release{Name: "shop", Namespace: "tenant"}, values, inCluster).Read()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ConfigMap/tenant-shop-0", "ConfigMap/tenant-shop-1"}, namesOf(objects)); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if _, err := Template("manifestsTemplate", "{{ .Values.count.more }}", Release{}, values, inCluster).Read(); err == nil {
		t.Error("a template that cannot be rendered has no error")
	}
}
