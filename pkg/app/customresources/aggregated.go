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

// defaultPeriod is the default of [Controller.Period].
const defaultPeriod = 30 * time.Second

// period returns how often discovery of the host is polled.
func (c *Controller) period() time.Duration { return cmp.Or(c.Period, defaultPeriod) }

// aggregatedUID is the UID of a definition that is built from an aggregated API.
const aggregatedUID types.UID = "aggregated"

// unavailableError is returned while it is unknown whether the host serves an API. Kinds that
// are synced already continue.
type unavailableError struct{ cause error }

// Error returns the cause.
func (e *unavailableError) Error() string {
	return "the host's API of the kind is not available: " + e.cause.Error()
}

// Unwrap returns the cause.
func (e *unavailableError) Unwrap() error { return e.cause }

// isFromAPI reports whether a definition, or the original of a copy, is built from an aggregated
// API.
func isFromAPI(definition *apiextensionsv1.CustomResourceDefinition) bool {
	return definition != nil && (definition.UID == aggregatedUID || definition.Annotations[labels.HostUID] == string(aggregatedUID))
}

// aggregatedAPIs builds definitions of kinds that aggregated APIs of the host serve.
type aggregatedAPIs struct {
	host    rest.Interface
	schemas map[string]apiSchema // resource -> schema of its kind
}

// apiSchema is a schema and the address of the OpenAPI document that contains it. The address
// contains a hash of the document.
type apiSchema struct {
	address string
	kind    schema.GroupVersionKind
	schema  *apiextensionsv1.JSONSchemaProps
	err     error
}

// define returns a definition of a kind as the host serves it. It returns errNoAPI if no API
// serves the kind, a refusedError if the kind cannot be synced, and an unavailableError if that
// is unknown.
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
		return nil, &unavailableError{err}
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

// isBuiltIn reports whether a group belongs to Kubernetes itself. A virtual cluster serves these
// groups itself.
func isBuiltIn(group string) bool {
	return scheme.Scheme.IsGroupRegistered(group) || group == "apiextensions.k8s.io" || group == "apiregistration.k8s.io"
}

// chooseVersion returns the version to sync: the one in the settings, or else the preferred
// version of the host.
func (a *aggregatedAPIs) chooseVersion(ctx context.Context, k kind, name string) (schema.GroupVersion, error) {
	group := &metav1.APIGroup{}
	err := a.get(ctx, "/apis/"+name, group)
	switch {
	case apierrors.IsNotFound(err):
		return schema.GroupVersion{}, errNoAPI
	case err != nil:
		return schema.GroupVersion{}, &unavailableError{err}
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

// schemaOf returns the schema of a kind. It downloads the document only if its address has
// changed.
func (a *aggregatedAPIs) schemaOf(ctx context.Context, k kind, gvk schema.GroupVersionKind) (*apiextensionsv1.JSONSchemaProps, error) {
	documents, err := openapi.NewClientWithContext(a.host).PathsWithContext(ctx)
	if err != nil {
		return nil, &unavailableError{err}
	}
	document, ok := documents["apis/"+gvk.GroupVersion().String()]
	if !ok {
		return nil, &unavailableError{fmt.Errorf("it has no OpenAPI v3 document of %s", gvk.GroupVersion())}
	}
	known := a.schemas[k.resource]
	// An address without a hash does not change with the document.
	address, err := url.Parse(document.ServerRelativeURL())
	if err != nil || !address.Query().Has("hash") || known.address != address.String() || known.kind != gvk {
		text, err := document.SchemaWithContext(ctx, "application/json")
		if err != nil {
			return nil, &unavailableError{err}
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

// get reads a discovery document of the host.
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

// verbs returns the verbs that the syncer needs for the objects of a kind on the host.
func (k kind) verbs() []string {
	if k.fromHost != nil {
		return []string{"get", "list", "watch"}
	}
	return []string{"create", "delete", "get", "list", "patch", "watch"}
}

// newDefinition builds the definition of a kind that an aggregated API serves.
func newDefinition(name string, version schema.GroupVersion, found metav1.APIResource, hasStatus bool, content *apiextensionsv1.JSONSchemaProps) *apiextensionsv1.CustomResourceDefinition {
	d := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: aggregatedUID,
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
	if c.apis.host == nil || ok && !running.fromAPI {
		// Discovery shows the resource of a definition a little longer than the definition.
		return nil, c.endKind(ctx, k, virtual, errNoDefinition)
	}
	if k.toHost != nil && isFromAPI(virtual) {
		// Nothing converts the tenant's objects to the version that the host prefers today.
		k.wanted.Version = cmp.Or(k.wanted.Version, custom.StorageVersion(virtual))
	}
	host, err := c.apis.define(ctx, k)
	_, away := errors.AsType[*unavailableError](err)
	_, refused := errors.AsType[*refusedError](err)
	switch {
	case err == nil:
		return host, nil
	case away && isFromAPI(virtual):
		return nil, &refusedError{err} // The next look is soon enough.
	case refused && isFromAPI(virtual):
		c.stopSyncing(k.resource)
		return nil, err
	}
	return nil, c.endKind(ctx, k, virtual, err)
}
