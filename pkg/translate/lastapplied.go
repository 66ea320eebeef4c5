package translate

import (
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/labels"
)

// LastApplied records which values of a map or keyed list were last written to the other side.
// It maps each key to a digest of the value, because the values themselves may be large.
type LastApplied map[string]string

// DigestValues returns the digests of values.
func DigestValues[T any](values map[string]T) LastApplied {
	digests := make(LastApplied, len(values))
	for key, value := range values {
		digests[key] = digest(value)
	}
	return digests
}

// DigestList returns the digests of the items of a list, under their keys.
func DigestList[T any](values []T, key func(T) string) LastApplied {
	digests := make(LastApplied, len(values))
	for _, value := range values {
		digests[key(value)] = digest(value)
	}
	return digests
}

// EncodeLastApplied returns the records of several fields of one object as JSON, for the
// annotation [labels.LastApplied]. Equal records give equal text.
func EncodeLastApplied(fields map[string]LastApplied) (string, error) {
	text, err := json.Marshal(fields)
	if err != nil {
		return "", fmt.Errorf("cannot encode what was last applied: %w", err)
	}
	return string(text), nil
}

// DecodeLastApplied decodes the text of [EncodeLastApplied]. It returns an empty map for text
// that it cannot decode, as if nothing had been written yet.
func DecodeLastApplied(text string) map[string]LastApplied {
	fields := map[string]LastApplied{}
	if err := json.Unmarshal([]byte(text), &fields); err != nil || fields == nil {
		return map[string]LastApplied{}
	}
	return fields
}

// RecordKeys records on a host copy what the tenant has set of a field, nil for nothing. It returns
// what was recorded before, nil for nothing. What else the field has is of somebody on the host.
func RecordKeys(host metav1.Object, field string, keys LastApplied) (before LastApplied, err error) {
	recorded := DecodeLastApplied(host.GetAnnotations()[labels.LastApplied])
	before = recorded[field]
	delete(recorded, field)
	if keys != nil {
		recorded[field] = keys
	}
	if len(recorded) == 0 {
		RemoveAnnotation(host, labels.LastApplied)
		return before, nil
	}
	text, err := EncodeLastApplied(recorded)
	if err != nil {
		return nil, err
	}
	SetAnnotation(host, labels.LastApplied, text)
	return before, nil
}

// KeepUnlessSet returns the value of an optional field of a host copy. It is the tenant's. If the
// tenant has never set one, and no patch has, it is what the host has filled in.
func KeepUnlessSet[T any](host metav1.Object, field string, tenant, filled *T) (*T, error) {
	var keys LastApplied
	if tenant != nil {
		keys = LastApplied{}
	}
	before, err := RecordKeys(host, field, keys)
	patched := strings.Contains(host.GetAnnotations()[labels.Patched], `".`+field+`"`)
	if err != nil || tenant != nil || before != nil || patched {
		return tenant, err
	}
	return filled, nil
}

// digest returns a text that is equal for equal values.
func digest(value any) string {
	if text, ok := value.(string); ok {
		return hash(text)[:labelHash]
	}
	text, err := json.Marshal(value)
	if err != nil {
		// Values of API objects can always be encoded.
		panic(fmt.Sprintf("cannot digest %T: %v", value, err))
	}
	return hash("json", string(text))[:labelHash]
}
