package syncer

import (
	"fmt"
	"runtime/debug"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// panicError is the error that a panic in a kind's function becomes.
type panicError struct {
	where string
	value any
}

func (e *panicError) Error() string { return fmt.Sprintf("panic at %s: %v", e.where, e.value) }

// recoverPanic turns a panic of a kind's function into an error, logs its stack and counts it.
// It must be deferred directly. So a panic only makes one key or event fail, and does not end
// the process, in which the API server runs too.
func (r *runner) recoverPanic(what string, key types.NamespacedName, err *error) {
	value := recover()
	if value == nil {
		return
	}
	*err = &panicError{where: what + " " + key.String(), value: value}
	processMetrics().panics.WithLabelValues(r.kind.name).Inc()
	r.log.Error(*err, "Panic in a kind", "stack", string(debug.Stack()))
}

// originOf returns the virtual key that a host object was created for. ok is
// false if the object is not our copy.
func (r *runner) originOf(s Scope, host client.Object) (key types.NamespacedName, ok bool, err error) {
	defer r.recoverPanic("origin of host object", client.ObjectKeyFromObject(host), &err)
	key, ok = r.kind.origin(s, host)
	return key, ok, nil
}

// withoutPanic returns index with a value function that cannot panic. An object
// whose values cannot be computed has none, so the index does not find it.
func (r *runner) withoutPanic(index Index) Index {
	values, what := index.Values, "index "+index.Field+" of"
	index.Values = func(object client.Object) []string {
		var err error
		defer r.recoverPanic(what, client.ObjectKeyFromObject(object), &err)
		return values(object)
	}
	return index
}

// trimWithoutPanic returns the kind's trim function with a barrier, nil if it has
// none. An object that cannot be trimmed keeps what was not dropped before.
func (r *runner) trimWithoutPanic() func(client.Object) {
	if r.kind.trim == nil {
		return nil
	}
	return func(host client.Object) {
		var err error
		defer r.recoverPanic("trim of host object", client.ObjectKeyFromObject(host), &err)
		r.kind.trim(host)
	}
}
