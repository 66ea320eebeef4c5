package controlplane

import (
	"context"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
)

// SentObject returns the object of a request as the syncer has sent it, if admission that a tenant
// configures has altered it since. Otherwise it returns nil. The syncer is exempt from policies, and
// what a tenant makes of its writes is not.
func SentObject(ctx context.Context) runtime.Object {
	state := requestStateOf(ctx)
	if state == nil {
		return nil
	}
	// Upstream calls the plugins in this order.
	for _, plugin := range []string{mutatingpolicy.PluginName, mutatingwebhook.PluginName} {
		if sent, ok := state.sent[plugin]; ok {
			return sent
		}
	}
	return nil
}

// readAttributes are attributes that have the object as it was when a plugin first read it.
//
// Upstream's plugins read it once if no webhook or policy matches the request. Otherwise they also convert it and
// put the result back. A comparison takes as long as all other admission, so it is only made then.
type readAttributes struct {
	admission.Attributes

	before runtime.Object
	reads  int
}

// GetObject implements [admission.Attributes].
func (r *readAttributes) GetObject() runtime.Object {
	object := r.Attributes.GetObject()
	if r.reads++; r.reads == 1 && object != nil {
		r.before = object.DeepCopyObject()
	}
	return object
}

// isAltered reports whether the plugin has altered the object.
func (r *readAttributes) isAltered() bool {
	return r.reads > 1 && !apiequality.Semantic.DeepEqual(r.before, r.Attributes.GetObject())
}

// recordAlteration records the object from before a plugin, if the plugin has altered it. A request that is
// tried again starts over. In a reinvocation the plugin gets what it has altered before.
func (s *requestState) recordAlteration(plugin string, read *readAttributes) {
	isAltered := read.isAltered()
	_, recorded := s.sent[plugin]
	if read.GetReinvocationContext().IsReinvoke() && (recorded || !isAltered) {
		return
	}
	if !isAltered {
		delete(s.sent, plugin)
		return
	}
	if s.sent == nil {
		s.sent = map[string]runtime.Object{}
	}
	s.sent[plugin] = read.before
}
