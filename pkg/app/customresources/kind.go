package customresources

import (
	"maps"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/app/patches"
	"github.com/sublet-dev/sublet/pkg/custom"
	"github.com/sublet-dev/sublet/pkg/patch"
)

// kind is a kind of custom resources that the settings select.
type kind struct {
	resource string // the name of the definition
	wanted   custom.Wanted
	setting  string                       // path of its settings
	toHost   *v1alpha1.CustomResource     // nil if the host owns the objects
	fromHost *v1alpha1.HostCustomResource // nil if the tenant owns the objects
}

// newKinds returns the enabled kinds: name of the definition -> kind.
func newKinds(sync v1alpha1.Sync) map[string]kind {
	kinds := map[string]kind{}
	for key, settings := range sync.ToHost.CustomResources {
		if settings.Enabled {
			resource, version := v1alpha1.SplitCustomResource(key)
			kinds[resource] = kind{
				resource: resource, setting: "sync.toHost.customResources[" + key + "]", toHost: &settings,
				wanted: custom.Wanted{Version: version, Scope: apiextensionsv1.NamespaceScoped, OfTenant: true},
			}
		}
	}
	for key, settings := range sync.FromHost.CustomResources {
		if settings.Enabled {
			resource, version := v1alpha1.SplitCustomResource(key)
			k := kind{
				resource: resource, setting: "sync.fromHost.customResources[" + key + "]", fromHost: &settings,
				wanted: custom.Wanted{Version: version, Scope: apiextensionsv1.ClusterScoped},
			}
			if settings.IsNamespaced() {
				k.wanted.Scope = apiextensionsv1.NamespaceScoped
			}
			kinds[resource] = k
		}
	}
	return kinds
}

// Resources returns the names of the definitions that the settings select, sorted: of kinds of
// the tenant and of kinds of the host.
func Resources(sync v1alpha1.Sync) (toHost, fromHost []string) {
	kinds := newKinds(sync)
	for _, resource := range slices.Sorted(maps.Keys(kinds)) {
		if kinds[resource].toHost != nil {
			toHost = append(toHost, resource)
		} else {
			fromHost = append(fromHost, resource)
		}
	}
	return toHost, fromHost
}

// compilePatches compiles the patches of a kind against the schema of its definition.
func (k kind) compilePatches(definition *apiextensionsv1.CustomResourceDefinition, version string) (*patch.Set, error) {
	o := patch.Options{Setting: k.setting, Schema: patch.OfDefinition(custom.SchemaOf(definition, version)), Content: k.toHost != nil}
	var settings []v1alpha1.Patch
	if k.toHost != nil {
		settings = k.toHost.Patches
	} else {
		settings = k.fromHost.Patches
	}
	set, problems := patch.Compile(settings, o)
	if len(problems) > 0 {
		return nil, &patches.Error{Problems: problems}
	}
	return set, nil
}
