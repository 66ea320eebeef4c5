package admission

import (
	"context"
	"slices"
	"strings"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/pkg/custom"
	"github.com/sublet-dev/sublet/pkg/policy"
)

// CustomResourceOptions configure [AddCustomResourceChecks].
type CustomResourceOptions struct {
	// ToHost and FromHost are the names of the definitions that are synced, such as
	// widgets.example.com.
	ToHost, FromHost []string
	// Plan returns the references of the objects of a definition. It returns nil for a definition
	// that is not synced, and an error while the definition is not known yet.
	Plan func(definition string) (*custom.Plan, error)
	// IsTerminating reports whether a virtual namespace is being deleted.
	IsTerminating func(namespace string) bool
	// IsInternal reports whether a request comes from within the process. It must not depend
	// on a name that a tenant can impersonate.
	IsInternal func(ctx context.Context) bool
}

// AddCustomResourceChecks adds the checks of custom resources and of their definitions.
func AddCustomResourceChecks(checks Checks, o CustomResourceOptions) {
	definitions, synced := hostOwned{noun: "definition"}, slices.Concat(o.ToHost, o.FromHost)
	checks.Add(schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"},
		func(ctx context.Context, a admission.Attributes, i admission.ObjectInterfaces) (Decision, error) {
			if a.GetSubresource() == "status" && o.IsInternal(ctx) {
				return Decision{}, nil // The API server itself writes it.
			}
			if old, err := meta.Accessor(a.GetOldObject()); err == nil && a.GetOperation() == admission.Delete && !slices.Contains(synced, old.GetName()) {
				return Decision{}, nil // The kind is switched off. If it comes back, the definition must be as it was.
			}
			return definitions.check(ctx, a, i)
		})
	for _, definition := range o.FromHost {
		checks.Add(toGroupResource(definition), hostOwned{noun: "object", isTerminating: o.IsTerminating}.check)
	}
	for _, definition := range o.ToHost {
		checks.Add(toGroupResource(definition), customCheck{definition, o.Plan}.check)
	}
}

// toGroupResource returns the resource of a definition.
func toGroupResource(definition string) schema.GroupResource {
	resource, group, _ := strings.Cut(definition, ".")
	return schema.GroupResource{Group: group, Resource: resource}
}

// customCheck evaluates the objects of a kind that have a copy on the host.
type customCheck struct {
	definition string
	plan       func(definition string) (*custom.Plan, error)
}

// check denies an object that may refer to what is not the tenant's. An object may be older
// than the rules: it can be deleted, and changed outside of what the host gets.
func (c customCheck) check(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) (Decision, error) {
	object, ok := a.GetObject().(*unstructured.Unstructured)
	if !ok || a.GetSubresource() != "" || object.GetDeletionTimestamp() != nil {
		return Decision{}, nil
	}
	content := contentOf(object)
	if old, ok := a.GetOldObject().(*unstructured.Unstructured); ok && apiequality.Semantic.DeepEqual(contentOf(old), content) {
		return Decision{}, nil
	}
	plan, err := c.plan(c.definition)
	if err != nil {
		return Decision{}, apierrors.NewServiceUnavailable(err.Error())
	}
	if plan == nil {
		return Decision{Warnings: []string{"objects of the definition " + c.definition +
			" have no copies on the host, as the definition is your own: delete it to get the host's"}}, nil
	}
	var violations []policy.Violation
	for _, problem := range plan.Check(content, a.GetNamespace()) {
		violations = append(violations, policy.Violation{Field: problem.Path, Value: problem.Value, Detail: problem.Detail, Setting: problem.Setting})
	}
	return Decision{Violations: violations}, nil
}

// contentOf returns a copy of an object without metadata and status.
func contentOf(object *unstructured.Unstructured) map[string]any {
	content := map[string]any{}
	for key, value := range object.Object {
		switch key {
		case "apiVersion", "kind", "metadata", "status":
		default:
			content[key] = runtime.DeepCopyJSONValue(value)
		}
	}
	return content
}
