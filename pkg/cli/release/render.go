package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	helmrelease "helm.sh/helm/v4/pkg/release"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"

	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/host"
)

// LeastHostVersion is the oldest version of Kubernetes that the chart accepts on a host.
const LeastHostVersion = "1.30.0"

// Rendered is what Helm makes of the chart.
type Rendered struct {
	// Objects are those that an installation creates.
	Objects []unstructured.Unstructured
	// Hooks are the pods and Secrets that Helm creates for a moment.
	Hooks []unstructured.Unstructured
}

// Render returns the objects that an installation would create on the host. It changes nothing.
func Render(ctx context.Context, h *host.Host, name string, values map[string]any) (Rendered, error) {
	config, err := configure(h)
	if err != nil {
		return Rendered{}, err
	}
	loaded, err := Chart()
	if err != nil {
		return Rendered{}, err
	}
	install := action.NewInstall(config)
	install.ReleaseName, install.Namespace, install.DryRunStrategy = name, h.Namespace, action.DryRunClient
	info, err := discovery.ToDiscoveryInterfaceWithContext(h.Client.Discovery()).ServerVersionWithContext(ctx)
	if err != nil {
		return Rendered{}, fault.Wrap(err, "cannot get the version of the host")
	}
	if install.KubeVersion, err = common.ParseKubeVersion(info.GitVersion); err != nil {
		return Rendered{}, fmt.Errorf("cannot read the version %q of the host: %w", info.GitVersion, err)
	}
	rendered, err := install.RunWithContext(ctx, loaded, values)
	if err != nil {
		return Rendered{}, wrapHelm(err, "cannot use the settings of virtual cluster %s/%s", h.Namespace, name)
	}
	return renderedOf(rendered)
}

// Manifest returns the objects of a release that exists.
func Manifest(ctx context.Context, h *host.Host, name string) ([]unstructured.Unstructured, error) {
	config, err := configure(h)
	if err != nil {
		return nil, err
	}
	found, err := abortable(ctx, func() (helmrelease.Releaser, error) { return action.NewGet(config).Run(name) })
	if err != nil {
		return nil, wrapHelm(err, "cannot get release %s/%s", h.Namespace, name)
	}
	known, err := renderedOf(found)
	return known.Objects, err
}

// GivenValues returns the settings that the user of Helm gave a release.
func GivenValues(ctx context.Context, h *host.Host, name string) (map[string]any, error) {
	config, err := configure(h)
	if err != nil {
		return nil, err
	}
	values, err := abortable(ctx, func() (map[string]any, error) { return action.NewGetValues(config).Run(name) })
	return values, wrapHelm(err, "cannot get the settings of release %s/%s", h.Namespace, name)
}

// renderedOf returns the objects of a release, and its hooks.
func renderedOf(found helmrelease.Releaser) (Rendered, error) {
	known, ok := found.(*releasev1.Release)
	if !ok {
		return Rendered{}, fmt.Errorf("cannot read a release of type %T", found)
	}
	all := Rendered{}
	var err error
	if all.Objects, err = decode(known.Manifest); err != nil {
		return Rendered{}, err
	}
	for _, hook := range known.Hooks {
		objects, err := decode(hook.Manifest)
		if err != nil {
			return Rendered{}, err
		}
		all.Hooks = append(all.Hooks, objects...)
	}
	return all, nil
}

// decode returns the objects of a manifest.
func decode(manifest string) ([]unstructured.Unstructured, error) {
	objects := []unstructured.Unstructured{}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096)
	for {
		object := unstructured.Unstructured{}
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fault.Wrap(err, "cannot read the objects of the chart")
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}
