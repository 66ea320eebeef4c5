package manifests

import (
	"fmt"

	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/engine"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/klog/v2"
)

// Source is a setting that contains objects.
type Source struct {
	// Setting is the path of the setting.
	Setting string
	// Namespace is the default namespace of namespaced objects.
	Namespace string
	// Read returns the objects in the order in which they are applied. It is called again after
	// an error.
	Read func() ([]*unstructured.Unstructured, error)
}

// Text returns the source for a setting with YAML documents.
func Text(setting, text string) Source {
	return Source{Setting: setting, Namespace: metav1.NamespaceDefault, Read: func() ([]*unstructured.Unstructured, error) {
		return parse(text)
	}}
}

// Release identifies a release in templates.
type Release struct {
	Name, Namespace string
}

// Template returns the source for a setting with templated YAML documents. Templates have the
// settings as .Values, and .Release and .Capabilities like in a chart.
func Template(setting, text string, release Release, values map[string]any, cluster Cluster) Source {
	return Source{Setting: setting, Namespace: metav1.NamespaceDefault, Read: func() ([]*unstructured.Unstructured, error) {
		capabilities, err := cluster()
		if err != nil {
			return nil, err
		}
		loaded := &chart.Chart{
			Metadata:  &chart.Metadata{APIVersion: chart.APIVersionV2, Name: "manifests", Version: "1.0.0"},
			Templates: []*common.File{{Name: "manifestsTemplate", Data: []byte(text)}},
		}
		rendered, err := engine.Render(loaded, common.Values{
			"Values": values, "Capabilities": capabilities,
			"Release": map[string]any{"Name": release.Name, "Namespace": release.Namespace},
		})
		if err != nil {
			return nil, fmt.Errorf("cannot render the template: %w", err)
		}
		return parse(rendered["manifests/manifestsTemplate"])
	}}
}

// Cluster returns the capabilities of the virtual cluster for templates.
type Cluster func() (*common.Capabilities, error)

// Discover returns a Cluster that reads the capabilities from the API server. Like Helm, it omits APIs whose
// aggregated API server does not respond: a tenant may have added it.
func Discover(client discovery.DiscoveryInterface) Cluster {
	return func() (*common.Capabilities, error) {
		info, err := client.ServerVersion()
		if err != nil {
			return nil, fmt.Errorf("cannot get the version of the virtual cluster: %w", err)
		}
		version, err := common.ParseKubeVersion(info.GitVersion)
		if err != nil {
			return nil, fmt.Errorf("cannot read the version %q: %w", info.GitVersion, err)
		}
		_, lists, err := client.ServerGroupsAndResources()
		switch {
		case discovery.IsGroupDiscoveryFailedError(err):
			klog.InfoS("Templates do not see all APIs of the virtual cluster", "err", err)
		case err != nil:
			return nil, fmt.Errorf("cannot list the APIs of the virtual cluster: %w", err)
		}
		capabilities := common.DefaultCapabilities.Copy()
		capabilities.KubeVersion, capabilities.APIVersions = *version, nil
		for _, list := range lists {
			capabilities.APIVersions = append(capabilities.APIVersions, list.GroupVersion)
			for _, resource := range list.APIResources {
				capabilities.APIVersions = append(capabilities.APIVersions, list.GroupVersion+"/"+resource.Kind)
			}
		}
		return capabilities, nil
	}
}
