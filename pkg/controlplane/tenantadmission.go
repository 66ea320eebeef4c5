package controlplane

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
)

// isTenantAdmission reports whether objects of a tenant configure an admission plugin of upstream, such as
// webhooks, policies and quotas.
func isTenantAdmission(plugin string) bool {
	switch plugin {
	case mutatingpolicy.PluginName, mutatingwebhook.PluginName,
		validatingpolicy.PluginName, validatingwebhook.PluginName, resourcequota.PluginName:
		return true
	}
	return false
}

// exemptOwnRequests wraps a plugin that a tenant configures, so that requests of the API server itself
// bypass it. Otherwise a policy could prevent the control plane from starting, and nobody could
// delete that policy.
//
// Other writes of the syncer pass through it. What it alters is recorded for [SentObject].
//
// Writes of the syncer to copies of host objects bypass it too. The mark of a copy proves that the
// operator shares the object. Otherwise a tenant could make the syncer mark an object with another
// name or content, or prevent the deletion of a copy.
func exemptOwnRequests(plugin admission.Interface, name string) admission.Interface {
	if !isTenantAdmission(name) {
		return plugin
	}
	return exemptingPlugin{plugin, name}
}

// exemptingPlugin calls a plugin for all requests that are not exempt.
type exemptingPlugin struct {
	admission.Interface
	name string
}

var (
	_ admission.MutationInterface   = exemptingPlugin{}
	_ admission.ValidationInterface = exemptingPlugin{}
)

// Admit asks the plugin, if it mutates.
func (p exemptingPlugin) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	plugin, ok := p.Interface.(admission.MutationInterface)
	if !ok || isExempt(ctx, a) {
		return nil
	}
	state := requestStateOf(ctx)
	if state == nil || a.GetObject() == nil || !loopback.KeepsCopies(ctx) {
		return plugin.Admit(ctx, a, o)
	}
	read := &readAttributes{Attributes: a}
	if err := plugin.Admit(ctx, read, o); err != nil {
		return err
	}
	state.recordAlteration(p.name, read)
	return nil
}

// Validate asks the plugin, if it validates.
func (p exemptingPlugin) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	plugin, ok := p.Interface.(admission.ValidationInterface)
	if !ok || isExempt(ctx, a) {
		return nil
	}
	return plugin.Validate(ctx, a, o)
}

// isExempt reports whether a request bypasses the admission plugins that a tenant configures.
func isExempt(ctx context.Context, a admission.Attributes) bool {
	return loopback.SkipsTenantAdmission(ctx) ||
		loopback.KeepsCopies(ctx) && (isKept(a.GetObject()) || isKept(a.GetOldObject()))
}

// isKept reports whether an object is marked as the copy of a host object, or as a CustomResourceDefinition
// of Sublet.
func isKept(object runtime.Object) bool {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return false
	}
	annotations := accessor.GetAnnotations()
	return annotations[labels.HostUID] != "" || annotations[labels.Definition] != ""
}
