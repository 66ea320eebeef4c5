package controlplane

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapiserver "k8s.io/apiserver/pkg/server"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	apiregistrationclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/controllers/autoregister"

	"github.com/sublet-dev/sublet/api/labels"
)

// addedPriority is the priority of added groups and their versions in discovery. The metrics server
// uses the same value.
const addedPriority = 100

// A Group is an API group with the storage of its resources.
type Group = genericapiserver.APIGroupInfo

// addedVersions returns the groups and versions that [Config.Groups] adds.
func (c *Config) addedVersions() []schema.GroupVersion {
	var versions []schema.GroupVersion
	for _, group := range c.Groups {
		versions = append(versions, group.PrioritizedVersions...)
	}
	return versions
}

// installAdded installs the added groups in the aggregator itself, like the group of APIServices. So
// no APIService decides which server serves them.
func installAdded(aggregator *genericapiserver.GenericAPIServer, c *Config) error {
	for _, group := range c.Groups {
		if err := aggregator.InstallAPIGroup(group); err != nil {
			return fmt.Errorf("cannot serve API group %s: %w", group.PrioritizedVersions[0].Group, err)
		}
	}
	for _, version := range c.addedVersions() {
		aggregator.AggregatedDiscoveryGroupManager.SetGroupVersionPriority(metav1.GroupVersion(version), addedPriority, addedPriority)
	}
	return nil
}

// addedGroups keeps a local APIService for each added group and version, which older clients need for
// discovery. It takes over an APIService that a tenant has stored before the group was added. It
// deletes its own APIServices of groups that are no longer added.
type addedGroups []schema.GroupVersion

// reconcile writes the APIServices: it creates, corrects and deletes them. all are the existing ones.
func (g addedGroups) reconcile(ctx context.Context, api apiregistrationclient.APIServiceInterface, all []apiregistrationv1.APIService) error {
	missing := slices.Clone(g)
	for _, service := range all {
		version := schema.GroupVersion{Group: service.Spec.Group, Version: service.Spec.Version}
		var err error
		switch i := slices.Index(missing, version); {
		case i >= 0:
			missing = slices.Delete(missing, i, i+1)
			err = takeBack(ctx, api, &service)
		case service.Labels[labels.AddedGroup] != "" && service.Spec.Service == nil:
			err = deleteOutdated(ctx, api, &service)
		}
		if err != nil {
			return err
		}
	}
	for _, version := range missing {
		service := addedService(version)
		if _, err := api.Create(ctx, service, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("cannot create APIService %s: %w", service.Name, err)
		}
	}
	return nil
}

// addedService returns the APIService of an added group.
func addedService(version schema.GroupVersion) *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{
			Name:   version.Version + "." + version.Group,
			Labels: map[string]string{labels.AddedGroup: "true"},
		},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: version.Group, Version: version.Version,
			GroupPriorityMinimum: addedPriority, VersionPriority: addedPriority,
		},
	}
}

// takeBack makes the APIService of an added group local.
func takeBack(ctx context.Context, api apiregistrationclient.APIServiceInterface, found *apiregistrationv1.APIService) error {
	if found.Spec.Service == nil {
		return nil
	}
	want := addedService(schema.GroupVersion{Group: found.Spec.Group, Version: found.Spec.Version})
	local := found.DeepCopy()
	local.Labels, local.Spec = merged(local.Labels, want.Labels), want.Spec
	// With its label, upstream would delete an APIService that it has not created.
	delete(local.Labels, autoregister.AutoRegisterManagedLabel)
	if _, err := api.Update(ctx, local, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot update APIService %s: %w", found.Name, err)
	}
	return nil
}

// deleteOutdated deletes our APIService of a group that is no longer added. It keeps one that a tenant
// has pointed to another server.
func deleteOutdated(ctx context.Context, api apiregistrationclient.APIServiceInterface, found *apiregistrationv1.APIService) error {
	err := api.Delete(ctx, found.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &found.ResourceVersion}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot delete APIService %s: %w", found.Name, err)
	}
	return nil
}

// addedRoles returns the roles that aggregate read access to the added groups into the default roles
// view, edit and admin.
func (c *Config) addedRoles() []rbacv1.ClusterRole {
	var roles []rbacv1.ClusterRole
	for _, group := range c.Groups {
		version := group.PrioritizedVersions[0]
		role := rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{
			// For metrics.k8s.io it has the name that the metrics server gives it.
			Name: "system:aggregated-" + strings.TrimSuffix(version.Group, ".k8s.io") + "-reader",
			Labels: map[string]string{
				"kubernetes.io/bootstrapping":                  "rbac-defaults",
				"rbac.authorization.k8s.io/aggregate-to-view":  "true",
				"rbac.authorization.k8s.io/aggregate-to-edit":  "true",
				"rbac.authorization.k8s.io/aggregate-to-admin": "true",
			},
		}}
		role.Rules = []rbacv1.PolicyRule{{APIGroups: []string{version.Group}, Resources: []string{"*"}, Verbs: []string{"get", "list"}}}
		roles = append(roles, role)
	}
	return roles
}
