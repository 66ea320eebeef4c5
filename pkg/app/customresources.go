package app

import (
	"context"
	"fmt"
	"slices"

	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/klog/v2"

	"github.com/sublet-dev/sublet/pkg/admission"
	"github.com/sublet-dev/sublet/pkg/app/customresources"
	"github.com/sublet-dev/sublet/pkg/app/lifecycle"
	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/custom"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// newDefinitions returns the cache of the definitions of synced custom resources, nil if the
// settings select no kind.
func (a *openApp) newDefinitions(plane *controlplane.ControlPlane) (*customresources.Definitions, error) {
	if !a.values.Sync.HasCustomResources() {
		return nil, nil //nolint:nilnil // There are no definitions to watch.
	}
	own := plane.ClientConfig(syncerUser, pki.GroupAdmins)
	client, err := apiextensionsclient.NewForConfig(own)
	if err != nil {
		return nil, fmt.Errorf("cannot build a client of the virtual cluster: %w", err)
	}
	objects, err := metadata.NewForConfig(own)
	if err != nil {
		return nil, fmt.Errorf("cannot build a client of the virtual cluster: %w", err)
	}
	return customresources.NewDefinitions(customresources.Options{
		Settings: a.values.Sync, Client: client, Objects: objects, AllowsHost: policy.NewIngresses(a.values).AllowsHost,
		ClusterDomain: a.values.Networking.Advanced.ClusterDomain, Images: a.imageRules(),
		MaxGracePeriodSeconds: a.values.Policies.Pods.MaxGracePeriodSeconds,
	})
}

// imageRules returns the rules for images in custom resources. They are those of pods.
func (a *configuration) imageRules() custom.Images {
	settings := a.values.Policies.Images
	return custom.Images{
		Deny:       func(image string) (detail, setting string) { return policy.CheckImage(settings.Allowed, image) },
		Translate:  policy.TranslateImage(a.values.Sync.ToHost.Pods.TranslateImage),
		AlwaysPull: settings.AlwaysPull,
	}
}

// definitionParts returns the part that watches these definitions on every replica.
func (a *builtApp) definitionParts() []lifecycle.Part {
	if a.definitions == nil {
		return nil
	}
	return []lifecycle.Part{{Name: "definitions", Run: a.definitions.Run}}
}

// customResourceParts returns the part that syncs custom resources during one leader term.
func (a *builtApp) customResourceParts(s *session) []lifecycle.Part {
	if a.definitions == nil {
		return nil
	}
	return []lifecycle.Part{{Name: "custom resources", Run: func(ctx context.Context) error {
		host, err := apiextensionsclient.NewForConfig(a.leaderHost)
		if err != nil {
			return fmt.Errorf("cannot build a client of the host: %w", err)
		}
		virtual, err := apiextensionsclient.NewForConfig(s.virtual)
		if err != nil {
			return fmt.Errorf("cannot build a client of the virtual cluster: %w", err)
		}
		c := &customresources.Controller{
			Definitions: a.definitions, Host: host, Virtual: virtual, APIs: host.ApiextensionsV1().RESTClient(),
			Engine: s.engine, Cluster: a.cluster(), Log: klog.Background().WithName("customresources"),
		}
		defer a.health.add(c.Checks)()
		return c.Run(ctx)
	}}}
}

// customResourceOptions returns the options of the admission checks of custom resources.
func (a *openApp) customResourceOptions(isTerminating func(namespace string) bool) admission.CustomResourceOptions {
	toHost, fromHost := customresources.Resources(a.values.Sync)
	return admission.CustomResourceOptions{
		ToHost: toHost, FromHost: fromHost,
		Plan:          func(definition string) (*custom.Plan, error) { return a.api.definitions.Plan(definition) },
		IsTerminating: isTerminating, IsInternal: loopback.IsLoopback,
	}
}

// syncedGroups returns the API groups of all synced custom resources.
func (a *configuration) syncedGroups() []string {
	toHost, fromHost := customresources.Resources(a.values.Sync)
	var groups []string
	for _, resource := range slices.Concat(toHost, fromHost) {
		groups = append(groups, schema.ParseGroupResource(resource).Group)
	}
	if policy.ServesSnapshots(a.values) {
		groups = append(groups, policy.SnapshotGroup)
	}
	return groups
}
