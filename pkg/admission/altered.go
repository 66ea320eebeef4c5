package admission

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
)

// SentObject returns the object of a request as the syncer has sent it, if mutating admission of the tenant has
// altered it since. Otherwise it returns nil.
//
// No policy applies to what the syncer sends. But the tenant could otherwise write anything by a webhook that
// alters a write of the syncer.
type SentObject func(ctx context.Context) runtime.Object

// of returns the object as the syncer has sent it, nil if it is not altered.
func (s SentObject) of(ctx context.Context) runtime.Object {
	if s == nil {
		return nil
	}
	return s(ctx)
}

// alteredFrom returns the attributes of an update that only has the alterations of the tenant. A create has
// no state before it, and stays as it is.
func alteredFrom(a admission.Attributes, sent runtime.Object) admission.Attributes {
	if a.GetOperation() != admission.Update {
		return a
	}
	return admission.NewAttributesRecord(a.GetObject(), sent, a.GetKind(), a.GetNamespace(), a.GetName(), a.GetResource(),
		a.GetSubresource(), a.GetOperation(), a.GetOperationOptions(), a.IsDryRun(), a.GetUserInfo())
}
