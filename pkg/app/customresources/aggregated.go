package customresources

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/rest"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/custom"
)

// defaultPeriod is the time between two looks at the APIs of the host.
const defaultPeriod = 30 * time.Second

// period returns the time between two looks at the APIs of the host.
func (c *Controller) period() time.Duration { return cmp.Or(c.Period, defaultPeriod) }

// madeUpUID is the UID of a definition that is made from an aggregated API.
const madeUpUID types.UID = "aggregated"

// awayError is why nothing is known of an API that the host may serve. What runs continues.
type awayError struct{ cause error }

// Error returns the cause.
func (e *awayError) Error() string {
	return "the host's API of the kind is not available: " + e.cause.Error()
}

// Unwrap returns the cause.
func (e *awayError) Unwrap() error { return e.cause }

// isMadeUp reports whether a definition is made from an aggregated API, or is the copy of one.
func isMadeUp(definition *apiextensionsv1.CustomResourceDefinition) bool {
	return definition != nil && (definition.UID == madeUpUID || definition.Annotations[labels.HostUID] == string(madeUpUID))
}

// aggregatedAPIs makes definitions of the kinds that aggregated APIs of the host serve.
type aggregatedAPIs struct {
	host rest.Interface
	// schemas maps a resource -> the schema of its kind.
	schemas map[string]apiSchema
}

// apiSchema is a schema with the address of the document that it is from. The address has a
// digest of the document.
type apiSchema struct {
	address string
	kind    schema.GroupVersionKind
	schema  *apiextensionsv1.JSONSchemaProps
	err     error
}

// define returns a definition of a kind as the host serves it. It fails with errNoAPI
// if no API has the kind, and with a refusedError if it cannot be synced. With an awayError
// nothing is known.
func (a *aggregatedAPIs) define(ctx context.Context, k kind) (*apiextensionsv1.CustomResourceDefinition, error) {
	resource := schema.ParseGroupResource(k.resource)
	if isBuiltIn(resource.Group) {
		return nil, &refusedError{fmt.Errorf("%w, and the kinds of %s are built in", errNoDefinition, resource.Group)}
	}
	version, err := a.chooseVersion(ctx, k, resource.Group)
	if err != nil {
		return nil, err
	}
	list := &metav1.APIResourceList{}
	if err := a.get(ctx, "/apis/"+version.String(), list); err != nil {
		return nil, &awayError{err}
	}
	i := slices.IndexFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == resource.Resource })
	if i < 0 {
		return nil, errNoAPI
	}
	found := list.APIResources[i]
	for _, verb := range k.verbs() {
		if !slices.Contains(found.Verbs, verb) {
			return nil, &refusedError{fmt.Errorf("the host's API of the kind lacks the verb %s", verb)}
		}
	}
	content, err := a.schemaOf(ctx, k, version.WithKind(found.Kind))
	if err != nil {
		return nil, err
	}
	hasStatus := slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == resource.Resource+"/status" })
	return newDefinition(k.resource, version, found, hasStatus, content), nil
}

// isBuiltIn reports whether a group is one of Kubernetes itself. A virtual cluster has those
// of its own.
func isBuiltIn(group string) bool {
	return scheme.Scheme.IsGroupRegistered(group) || group == "apiextensions.k8s.io" || group == "apiregistration.k8s.io"
}

// chooseVersion returns the version to sync: that of the settings, or the one that the host
// prefers.
func (a *aggregatedAPIs) chooseVersion(ctx context.Context, k kind, name string) (schema.GroupVersion, error) {
	group := &metav1.APIGroup{}
	err := a.get(ctx, "/apis/"+name, group)
	switch {
	case apierrors.IsNotFound(err):
		return schema.GroupVersion{}, errNoAPI
	case err != nil:
		return schema.GroupVersion{}, &awayError{err}
	}
	version := k.wanted.Version
	if version == "" {
		version = group.PreferredVersion.Version
	}
	if !slices.ContainsFunc(group.Versions, func(v metav1.GroupVersionForDiscovery) bool { return v.Version == version }) {
		return schema.GroupVersion{}, errNoAPI
	}
	return schema.GroupVersion{Group: name, Version: version}, nil
}

// schemaOf returns the schema of a kind. Without a change of its document it is the known one.
func (a *aggregatedAPIs) schemaOf(ctx context.Context, k kind, gvk schema.GroupVersionKind) (*apiextensionsv1.JSONSchemaProps, error) {
	documents, err := openapi.NewClientWithContext(a.host).PathsWithContext(ctx)
	if err != nil {
		return nil, &awayError{err}
	}
	document, ok := documents["apis/"+gvk.GroupVersion().String()]
	if !ok {
		return nil, &awayError{fmt.Errorf("it has no OpenAPI v3 document of %s", gvk.GroupVersion())}
	}
	known := a.schemas[k.resource]
	// An address without a digest stays the same if the document changes.
	address, err := url.Parse(document.ServerRelativeURL())
	if err != nil || !address.Query().Has("hash") || known.address != address.String() || known.kind != gvk {
		text, err := document.SchemaWithContext(ctx, "application/json")
		if err != nil {
			return nil, &awayError{err}
		}
		known = apiSchema{address: document.ServerRelativeURL(), kind: gvk}
		known.schema, known.err = custom.FromOpenAPI(text, gvk, k.fromHost != nil)
		a.schemas[k.resource] = known
	}
	if known.err != nil {
		return nil, &refusedError{known.err}
	}
	return known.schema, nil
}

// get reads a document of the host's discovery.
func (a *aggregatedAPIs) get(ctx context.Context, path string, into any) error {
	text, err := a.host.Get().AbsPath(path).SetHeader("Accept", "application/json").DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("cannot get %s: %w", path, err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	return nil
}

// verbs returns what the syncer does with the objects of a kind on the host.
func (k kind) verbs() []string {
	if k.fromHost != nil {
		return []string{"get", "list", "watch"}
	}
	return []string{"create", "delete", "get", "list", "patch", "watch"}
}

// newDefinition returns a definition of a kind that an aggregated API serves.
func newDefinition(name string, version schema.GroupVersion, found metav1.APIResource, hasStatus bool, content *apiextensionsv1.JSONSchemaProps) *apiextensionsv1.CustomResourceDefinition {
	d := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: madeUpUID,
			Annotations: map[string]string{apiextensionsv1.KubeAPIApprovedAnnotation: "unapproved, from an aggregated API"},
		},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: version.Group, Scope: apiextensionsv1.ClusterScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{
				Plural: found.Name, Singular: found.SingularName, Kind: found.Kind, ListKind: found.Kind + "List",
				ShortNames: found.ShortNames, Categories: found.Categories,
			},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: version.Version, Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: content.DeepCopy()},
			}},
		},
		Status: apiextensionsv1.CustomResourceDefinitionStatus{Conditions: []apiextensionsv1.CustomResourceDefinitionCondition{
			{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue},
		}},
	}
	if d.Spec.Names.Singular == "" {
		d.Spec.Names.Singular = strings.ToLower(found.Kind)
	}
	if found.Namespaced {
		d.Spec.Scope = apiextensionsv1.NamespaceScoped
	}
	if hasStatus {
		d.Spec.Versions[0].Subresources = &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}}
	}
	return d
}

// findAggregated returns a definition of a kind that the host has none of. It fails with the
// reason if it cannot be synced. An API that is away ends nothing.
func (c *Controller) findAggregated(ctx context.Context, k kind, virtual *apiextensionsv1.CustomResourceDefinition) (*apiextensionsv1.CustomResourceDefinition, error) {
	running, ok := c.running[k.resource]
	if c.apis.host == nil || ok && !running.madeUp {
		// Discovery shows the resource of a definition a little longer than the definition.
		return nil, c.endKind(ctx, k, virtual, errNoDefinition)
	}
	if k.toHost != nil && isMadeUp(virtual) {
		// Nothing converts the tenant's objects to the version that the host prefers today.
		k.wanted.Version = cmp.Or(k.wanted.Version, custom.StorageVersion(virtual))
	}
	host, err := c.apis.define(ctx, k)
	_, away := errors.AsType[*awayError](err)
	_, refused := errors.AsType[*refusedError](err)
	switch {
	case err == nil:
		return host, nil
	case away && isMadeUp(virtual):
		return nil, &refusedError{err} // The next look is soon enough.
	case refused && isMadeUp(virtual):
		c.drop(k.resource)
		return nil, err
	}
	return nil, c.endKind(ctx, k, virtual, err)
}
