package admission

import (
	"context"
	"strings"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
)

// ReadOnlyOptions configure [ReadOnly].
type ReadOnlyOptions struct {
	// InternalUser returns the user of a request from within the process. It must not depend
	// on a name that a tenant can impersonate. Default: no request is.
	InternalUser func(ctx context.Context) (name string, ok bool)
}

// readOnlyPlugin is the plugin of [ReadOnly].
type readOnlyPlugin struct {
	*admission.Handler
	internalUser func(ctx context.Context) (string, bool)
}

// ReadOnly returns the admission plugin of a virtual cluster that an operator has made
// read-only. It denies creates and updates, and sessions and proxies, by which a tenant may do
// anything in a pod. It allows reads and deletes.
//
// What ends an object is allowed too: evictions, and changes of the finalizers, the owners and the
// status of an object that is being deleted. The control plane's own parts are exempt. Its controllers act for the
// tenant: they update and delete, and create nothing but Events and Leases.
//
// It must be the first plugin. Others write to the host.
func ReadOnly(options ReadOnlyOptions) admission.Interface {
	if options.InternalUser == nil {
		options.InternalUser = func(context.Context) (string, bool) { return "", false }
	}
	return &readOnlyPlugin{
		Handler:      admission.NewHandler(admission.Create, admission.Update, admission.Connect),
		internalUser: options.InternalUser,
	}
}

var (
	_ admission.MutationInterface   = &readOnlyPlugin{}
	_ admission.ValidationInterface = &readOnlyPlugin{}
)

// Admit implements [admission.MutationInterface].
func (p *readOnlyPlugin) Admit(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if p.allows(ctx, a) {
		return nil
	}
	what := strings.ToLower(string(a.GetOperation()))
	if a.GetOperation() == admission.Connect {
		what = a.GetSubresource() // such as exec
	}
	return deny(a, "this virtual cluster is read-only: it allows reads and deletes, and no %s. "+
		"The operator of the host can change this with policies.readOnly.", what)
}

// Validate implements [admission.ValidationInterface].
func (p *readOnlyPlugin) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return p.Admit(ctx, a, o)
}

// allows reports whether a create, an update or a connection passes.
func (p *readOnlyPlugin) allows(ctx context.Context, a admission.Attributes) bool {
	if isReview(a) || isEviction(a) || endsObject(a) {
		return true
	}
	user, internal := p.internalUser(ctx)
	switch {
	case !internal:
		return false
	case !isController(user), a.GetOperation() != admission.Create, a.GetSubresource() != "":
		return true
	}
	resource := a.GetResource().Resource
	return resource == "events" || resource == "leases"
}

// isController reports whether an internal user is one of Kubernetes' controllers.
func isController(user string) bool { return strings.HasPrefix(user, "system:serviceaccount:") }

// isReview reports whether a create only asks a question, such as "kubectl auth can-i".
func isReview(a admission.Attributes) bool {
	group := a.GetResource().Group
	return (group == "authentication.k8s.io" || group == "authorization.k8s.io") && strings.HasSuffix(a.GetResource().Resource, "reviews")
}

// isEviction reports whether a create deletes a pod.
func isEviction(a admission.Attributes) bool {
	return a.GetResource().Group == "" && a.GetResource().Resource == "pods" && a.GetSubresource() == "eviction"
}

// endsObject reports whether an update ends an object that is being deleted. Who has set a finalizer must be able to
// remove it, and to write a status before. Anything else would change what the object is until it is gone.
func endsObject(a admission.Attributes) bool {
	if a.GetOperation() != admission.Update || a.GetOldObject() == nil || a.GetObject() == nil {
		return false
	}
	old, err := meta.Accessor(a.GetOldObject())
	if err != nil || old.GetDeletionTimestamp() == nil {
		return false
	}
	switch a.GetSubresource() {
	case "status", "finalize":
		return !changesMetadata(a)
	case "":
		return changesOnlyEnd(a)
	}
	return false
}

// changesOnlyEnd reports whether an update changes nothing but finalizers, owners and what the API server itself writes.
func changesOnlyEnd(a admission.Attributes) bool {
	old, object := a.GetOldObject().DeepCopyObject(), a.GetObject().DeepCopyObject()
	before, err := meta.Accessor(old)
	if err != nil {
		return false
	}
	after, err := meta.Accessor(object)
	if err != nil {
		return false
	}
	for _, each := range []metav1.Object{before, after} {
		each.SetFinalizers(nil)
		each.SetOwnerReferences(nil)
		each.SetManagedFields(nil)
		each.SetResourceVersion("")
		each.SetGeneration(0)
		// A client may leave these out. The API server keeps them.
		each.SetUID("")
		each.SetCreationTimestamp(metav1.Time{})
		each.SetDeletionTimestamp(nil)
		each.SetDeletionGracePeriodSeconds(nil)
	}
	return apiequality.Semantic.DeepEqual(old, object)
}
