package kinds

import (
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// generationField and generationKey are where a copy records the generation of the tenant's object
// that it was last written from.
const generationField, generationKey = "generation", "virtual"

// generations returns the function from generations of a copy to those of the tenant's object. The
// two differ as soon as two changes of the tenant are written as one, or the copy is created again.
// Tools wait until the observed generation is that of the object, and would wait for ever.
func (o CustomOptions) generations(host *unstructured.Unstructured) func(int64) int64 {
	recorded := translate.DecodeLastApplied(host.GetAnnotations()[labels.LastApplied])[generationField][generationKey]
	virtual, err := strconv.ParseInt(recorded, 10, 64)
	if err != nil || !o.HasStatus || host.GetGeneration() == 0 {
		return func(observed int64) int64 { return observed }
	}
	return generationsSince(host.GetGeneration(), virtual)
}

// generationsSince returns the function from generations of a host object to those of a virtual one, of
// which these two are the same state. Both count changes of their own.
func generationsSince(host, virtual int64) func(int64) int64 {
	return func(observed int64) int64 {
		behind := max(0, host-observed)
		return max(0, virtual-behind)
	}
}

// observedGeneration is the field of a status or a condition with the generation that it is about.
const observedGeneration = "observedGeneration"

// observe replaces the observed generation of a status or a condition, if it has one.
func observe(fields map[string]any, generation func(int64) int64) {
	if observed, ok := fields[observedGeneration].(int64); ok {
		fields[observedGeneration] = generation(observed)
	}
}

// observeStatus replaces the observed generations of a status and of all conditions in it. Each is replaced
// once: a status may have the fields of a condition.
func observeStatus(status map[string]any, generation func(int64) int64) {
	if !isCondition(status) {
		observe(status, generation)
	}
	observeConditions(status, generation)
}

// observeConditions replaces the observed generations of all conditions in a part of a status.
func observeConditions(part any, generation func(int64) int64) {
	switch part := part.(type) {
	case map[string]any:
		if isCondition(part) {
			observe(part, generation)
		}
		for _, inner := range part {
			observeConditions(inner, generation)
		}
	case []any:
		for _, inner := range part {
			observeConditions(inner, generation)
		}
	}
}

// isCondition reports whether a part of a status is a condition, wherever it is.
func isCondition(fields map[string]any) bool {
	_, hasType := fields["type"].(string)
	_, hasStatus := fields["status"].(string)
	return hasType && hasStatus
}
