package manifests

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

const (
	// hookAnnotation marks an object as a Helm hook.
	hookAnnotation = "helm.sh/hook"
	// managedBy, releaseName and releaseNamespace allow a later "helm upgrade --install" of the
	// same release to adopt the objects.
	managedBy        = "app.kubernetes.io/managed-by"
	releaseName      = "meta.helm.sh/release-name"
	releaseNamespace = "meta.helm.sh/release-namespace"
)

// Chart returns the source for a setting with a Helm chart.
func Chart(setting string, deploy v1alpha1.DeployChart, cluster Cluster) Source {
	namespace := cmp.Or(deploy.Release.Namespace, metav1.NamespaceDefault)
	return Source{Setting: setting, Namespace: namespace, Read: func() ([]*unstructured.Unstructured, error) {
		loaded, err := loadChart(deploy)
		if err != nil {
			return nil, err
		}
		capabilities, err := cluster()
		if err != nil {
			return nil, err
		}
		release := Release{Name: cmp.Or(deploy.Release.Name, loaded.Name()), Namespace: namespace}
		return renderChart(loaded, deploy.Values, release, capabilities)
	}}
}

// loadChart loads the chart in a bundle, and verifies its name and version.
func loadChart(deploy v1alpha1.DeployChart) (*chart.Chart, error) {
	archive, err := base64.StdEncoding.DecodeString(deploy.Bundle)
	if err != nil {
		return nil, fmt.Errorf("cannot decode bundle: %w", err)
	}
	loaded, err := loader.LoadArchive(bytes.NewReader(archive))
	if err != nil {
		return nil, fmt.Errorf("cannot read the chart in bundle: %w", err)
	}
	want := deploy.Chart
	if want.Name != "" && want.Name != loaded.Name() || want.Version != "" && want.Version != loaded.Metadata.Version {
		return nil, fmt.Errorf("cannot use the chart in bundle: it is %s %s, not %s %s",
			loaded.Name(), loaded.Metadata.Version, cmp.Or(want.Name, loaded.Name()), want.Version)
	}
	if loaded.Metadata.Type == "library" {
		return nil, fmt.Errorf("cannot use the chart %s: a library has no objects", loaded.Name())
	}
	return loaded, nil
}

// renderChart returns the objects that Helm would install.
func renderChart(loaded *chart.Chart, text string, release Release, capabilities *common.Capabilities) ([]*unstructured.Unstructured, error) {
	name := loaded.Name()
	if want := loaded.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, capabilities.KubeVersion.String()) {
		return nil, fmt.Errorf("cannot use the chart %s: it needs Kubernetes %s, and this is %s", name, want, capabilities.KubeVersion.String())
	}
	values, err := common.ReadValues([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("cannot read values: %w", err)
	}
	if err := chartutil.ProcessDependencies(loaded, values); err != nil {
		return nil, fmt.Errorf("cannot use the charts below %s: %w", name, err)
	}
	top, err := util.ToRenderValues(loaded, values, common.ReleaseOptions{
		Name: release.Name, Namespace: release.Namespace, Revision: 1, IsInstall: true,
	}, capabilities)
	if err != nil {
		return nil, fmt.Errorf("cannot use values: %w", err)
	}
	rendered, err := engine.Render(loaded, top)
	if err != nil {
		return nil, fmt.Errorf("cannot render the chart %s: %w", name, err)
	}
	objects, err := parseCRDs(loaded)
	if err != nil {
		return nil, err
	}
	owned, err := parseRendered(rendered, release)
	if err != nil {
		return nil, fmt.Errorf("cannot use the chart %s: %w", name, err)
	}
	return slices.Concat(namespaceOf(release), objects, owned), nil
}

// namespaceOf returns the namespace of a release as an object to apply. It returns nothing for
// "default", which always exists.
func namespaceOf(release Release) []*unstructured.Unstructured {
	if release.Namespace == metav1.NamespaceDefault {
		return nil
	}
	namespace := &unstructured.Unstructured{}
	namespace.SetAPIVersion("v1")
	namespace.SetKind("Namespace")
	namespace.SetName(release.Namespace)
	return []*unstructured.Unstructured{namespace}
}

// parseCRDs returns the definitions in the crds directories of a chart and its subcharts. Like
// in Helm, the release does not own them.
func parseCRDs(loaded *chart.Chart) ([]*unstructured.Unstructured, error) {
	var all []*unstructured.Unstructured
	for _, crd := range loaded.CRDObjects() {
		objects, err := parse(string(crd.File.Data))
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", crd.Filename, err)
		}
		all = append(all, objects...)
	}
	return all, nil
}

// parseRendered returns the objects of rendered templates, owned by the release, in the order in
// which they are applied.
func parseRendered(rendered map[string]string, release Release) ([]*unstructured.Unstructured, error) {
	var all []*unstructured.Unstructured
	for _, file := range slices.Sorted(maps.Keys(rendered)) {
		if path.Base(file) == "NOTES.txt" {
			continue
		}
		objects, err := parse(rendered[file])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, object := range objects {
			skip, err := isOtherHook(object)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			if !skip {
				setOwner(object, release)
				all = append(all, object)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *unstructured.Unstructured) int { return cmp.Compare(step(a), step(b)) })
	return all, nil
}

// isOtherHook reports whether an object is a hook that an installation skips: a test, or a hook
// of an upgrade or a deletion. It returns an error for an installation hook, because hooks are
// not supported here.
func isOtherHook(object *unstructured.Unstructured) (bool, error) {
	hooks := object.GetAnnotations()[hookAnnotation]
	if hooks == "" {
		return false, nil
	}
	for hook := range strings.SplitSeq(hooks, ",") {
		if hook = strings.TrimSpace(hook); strings.HasSuffix(hook, "-install") {
			return false, fmt.Errorf("%s %s is the hook %s, and no hooks run here: turn it off in values", object.GetKind(), object.GetName(), hook)
		}
	}
	return true, nil
}

// setOwner marks an object as owned by the release, like Helm.
func setOwner(object *unstructured.Unstructured, release Release) {
	labels, annotations := object.GetLabels(), object.GetAnnotations()
	if labels == nil {
		labels = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	labels[managedBy] = "Helm"
	annotations[releaseName], annotations[releaseNamespace] = release.Name, release.Namespace
	object.SetLabels(labels)
	object.SetAnnotations(annotations)
}

// step orders the objects of a chart: those that others need come first. Webhooks come last,
// because they could reject the objects that they need to run.
func step(object *unstructured.Unstructured) int {
	switch object.GetKind() {
	case "Namespace":
		return 0
	case "CustomResourceDefinition":
		return 1
	case "ServiceAccount", "Secret", "ConfigMap", "ClusterRole", "Role":
		return 2
	case "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "APIService":
		return 4
	}
	return 3
}
