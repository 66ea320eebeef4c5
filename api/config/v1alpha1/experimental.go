package v1alpha1

import "slices"

// Experimental has settings that may change in a later version.
type Experimental struct {
	// Objects that the virtual cluster has from its start.
	Deploy Deploy `json:"deploy"`
}

// Deploy has the objects that the control plane creates.
type Deploy struct {
	// Objects in the virtual cluster.
	VCluster DeployVirtual `json:"vcluster"`
}

// DeployVirtual has the objects that the control plane creates in the virtual cluster.
type DeployVirtual struct {
	// YAML documents of objects, as text. The control plane applies them at its start and after a change, as an
	// administrator of the virtual cluster. It retries those that fail, and /syncz has the state. Objects that
	// are removed from here stay in the virtual cluster. A namespaced object without a namespace is in default.
	// Default: ""
	Manifests string `json:"manifests"`
	// The same with Helm's templates. They have the settings as .Values, and .Release.Name, .Release.Namespace and
	// .Capabilities.
	// Default: ""
	ManifestsTemplate string `json:"manifestsTemplate"`
	// Helm charts that the control plane installs as it applies manifests, after these. Each is a map of bundle, chart
	// (name, version), release (name, namespace) and values. bundle is the archive that
	// "helm pull" fetches, as "base64 -w0" prints it. release is that of the chart in default without its keys. values is YAML as text. Hooks
	// do not run, so a chart that needs one of its installation is not installed. All settings must fit into a
	// Secret, which has 1 MiB.
	// Default: []
	Helm []DeployChart `json:"helm"`
}

// DeployChart names a Helm chart that the control plane installs in the virtual cluster.
type DeployChart struct {
	Bundle  string             `json:"bundle,omitempty" format:"base64,optional"`
	Chart   DeployChartSource  `json:"chart,omitzero"`
	Release DeployChartRelease `json:"release,omitzero"`
	Values  string             `json:"values,omitempty"`
}

// DeployChartSource names a chart. The chart in the bundle must have the name and the version, unless they
// are empty. A repository is refused.
type DeployChartSource struct {
	Name    string `json:"name,omitempty"`
	Repo    string `json:"repo,omitempty"`
	Version string `json:"version,omitempty"`
}

// DeployChartRelease names the release of a chart.
type DeployChartRelease struct {
	Name      string `json:"name,omitempty" format:"object-name,optional"`
	Namespace string `json:"namespace,omitempty" format:"object-name,optional"`
}

// deployCombinations returns the rules of initial charts.
func deployCombinations() []Combination {
	return []Combination{{
		Name: "chart-of-repository", Path: "experimental.deploy.vcluster.helm",
		Detail: "each chart needs a bundle and no chart.repo, because the control plane downloads none; " +
			"fetch it with helm pull, and set bundle to the base64 of the archive",
		Violated: func(c *Config) bool {
			return slices.ContainsFunc(c.Experimental.Deploy.VCluster.Helm, func(chart DeployChart) bool {
				return chart.Bundle == "" || chart.Chart.Repo != ""
			})
		},
	}}
}
