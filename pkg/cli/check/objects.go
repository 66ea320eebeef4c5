package check

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"

	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

// render returns the objects of the chart with the settings, and whether the settings are valid. A
// virtual cluster that exists is checked as it is.
func (t *target) render(ctx context.Context, h *host.Host, values map[string]any) (release.Rendered, result) {
	const name = "settings"
	var rendered release.Rendered
	var err error
	if t.installed != nil {
		rendered.Objects, err = release.Manifest(ctx, h, t.Name)
	} else {
		rendered, err = release.Render(ctx, h, t.Name, values)
	}
	if err != nil {
		return release.Rendered{}, failWith(name, err)
	}
	return rendered, pass(name, "the chart renders %d objects", len(rendered.Objects))
}

// resourceOf returns the resource of an object, as the host serves it.
func (t *target) resourceOf(ctx context.Context, kind schema.GroupVersionKind) (*metav1.APIResource, error) {
	list, err := discovery.ToDiscoveryInterfaceWithContext(t.client.Discovery()).ServerResourcesForGroupVersionWithContext(ctx, kind.GroupVersion().String())
	if err != nil {
		return nil, err
	}
	for i := range list.APIResources {
		found := &list.APIResources[i]
		if found.Kind == kind.Kind && !strings.Contains(found.Name, "/") {
			return found, nil
		}
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Group: kind.Group, Resource: kind.Kind}, "")
}

// kinds returns the distinct kinds of the rendered objects, sorted.
func (t *target) kinds() []schema.GroupVersionKind {
	kinds := map[schema.GroupVersionKind]bool{}
	for i := range t.rendered {
		kinds[t.rendered[i].GroupVersionKind()] = true
	}
	return slices.SortedFunc(maps.Keys(kinds), func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
}

// checkAPIs checks that the host serves each kind of the chart.
func (t *target) checkAPIs(ctx context.Context) result {
	const name = "api-versions"
	missing := []string{}
	kinds := t.kinds()
	for _, kind := range kinds {
		if _, err := t.resourceOf(ctx, kind); apierrors.IsNotFound(err) {
			missing = append(missing, kind.GroupVersion().String()+" "+kind.Kind)
		} else if err != nil {
			return failWith(name, fmt.Errorf("cannot list the resources of %s: %w", kind.GroupVersion(), err))
		}
	}
	if len(missing) > 0 {
		return fail(name, "Upgrade the host, install what serves these kinds, or leave out the settings that need them.", "the host does not serve %s", enumerate(missing))
	}
	return pass(name, "the host serves all %d kinds of the chart", len(kinds))
}

// checkPermissions asks for each verb of Helm on each resource of the chart, and for what "sublet
// connect" needs.
func (t *target) checkPermissions(ctx context.Context) result {
	const name = "permissions"
	missing := []string{}
	for _, attributes := range t.needed(ctx) {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &attributes}}
		answer, err := t.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return failWith(name, fmt.Errorf("cannot ask for the permissions of the user: %w", err))
		}
		if answer.Status.Allowed {
			continue
		}
		resource := schema.GroupResource{Group: attributes.Group, Resource: attributes.Resource}.String()
		if attributes.Subresource != "" {
			resource += "/" + attributes.Subresource
		}
		missing = append(missing, attributes.Verb+" "+resource)
	}
	if len(missing) > 0 {
		fix := release.PermissionHint(strings.Join(missing, " "))
		if fix == "" {
			fix = fmt.Sprintf("Let an administrator of the host bind the ClusterRole admin in namespace %s, or use another context. Ask for one with: kubectl auth can-i %s -n %s",
				t.Namespace, missing[0], t.Namespace)
		}
		return fail(name, fix, "the user lacks: %s", enumerate(missing))
	}
	return pass(name, "the user may install, upgrade, connect to and delete it")
}

// needed returns the permissions of Helm and of "sublet connect".
func (t *target) needed(ctx context.Context) []authorizationv1.ResourceAttributes {
	needed := []authorizationv1.ResourceAttributes{
		{Verb: "create", Resource: "secrets", Namespace: t.Namespace},
		{Verb: "update", Resource: "secrets", Namespace: t.Namespace},
		{Verb: "list", Resource: "secrets", Namespace: t.Namespace},
		{Verb: "get", Resource: "pods", Namespace: t.Namespace},
		{Verb: "create", Resource: "pods", Subresource: "portforward", Namespace: t.Namespace},
	}
	for _, kind := range t.kinds() {
		found, err := t.resourceOf(ctx, kind)
		if err != nil {
			continue // checkAPIs reports it
		}
		for _, verb := range []string{"create", "get", "patch", "delete"} {
			attributes := authorizationv1.ResourceAttributes{Verb: verb, Group: kind.Group, Version: kind.Version, Resource: found.Name}
			if found.Namespaced {
				attributes.Namespace = t.Namespace
			}
			if !slices.Contains(needed, attributes) {
				needed = append(needed, attributes)
			}
		}
	}
	return needed
}

// checkInstall sends each object of the chart as a dry run. The host answers as to a real request, so
// this finds webhooks, policies and permissions that a Role may not grant.
func (t *target) checkInstall(ctx context.Context) result {
	const name = "install"
	switch {
	case len(t.rendered) == 0:
		return skip(name, "the settings are not valid")
	case t.installed != nil:
		return skip(name, "it is installed already")
	case !t.hasNamespace:
		return skip(name, "namespace %s does not exist: create it to check this", t.Namespace)
	}
	for i := range t.rendered {
		object := &t.rendered[i]
		found, err := t.resourceOf(ctx, object.GroupVersionKind())
		if err != nil {
			continue // checkAPIs reports it
		}
		if err := t.createDry(ctx, object, found); err != nil {
			return t.refusal(name, object, found, err)
		}
	}
	return pass(name, "the host accepts all %d objects", len(t.rendered))
}

// createDry sends an object as a dry run. A binding may name a role that does not exist yet.
func (t *target) createDry(ctx context.Context, object *unstructured.Unstructured, found *metav1.APIResource) error {
	resource := object.GroupVersionKind().GroupVersion().WithResource(found.Name)
	objects := dynamic.ResourceInterface(t.objects.Resource(resource))
	if found.Namespaced {
		objects = t.objects.Resource(resource).Namespace(t.Namespace)
	}
	_, err := objects.Create(ctx, object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if apierrors.IsNotFound(err) && strings.HasSuffix(object.GetKind(), "RoleBinding") {
		return nil // Its role was a dry run too. Whoever may create the role may bind it.
	}
	return err
}

// refusal returns the result for an object that the host does not accept.
func (t *target) refusal(name string, object *unstructured.Unstructured, found *metav1.APIResource, err error) result {
	if apierrors.IsAlreadyExists(err) {
		fix := fmt.Sprintf("If nothing needs it, remove it with: kubectl -n %s delete %s %s", t.Namespace, found.Name, object.GetName())
		return fail(name, fix, "%s %s exists already", object.GetKind(), object.GetName())
	}
	if fix := release.PermissionHint(err.Error()); fix != "" {
		return fail(name, fix, "the host does not accept %s %s: %v", object.GetKind(), object.GetName(), err)
	}
	return failWith(name, fmt.Errorf("the host does not accept %s %s: %w", object.GetKind(), object.GetName(), err))
}
