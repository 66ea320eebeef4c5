package translate

import (
	"encoding/json"
	"fmt"
)

// Agreed is what was last written across of one map or keyed list: a digest of each
// value under its key. A comparison only needs to know whether a value changed, so the
// values themselves, which may be large, are not kept.
type Agreed map[string]string

// Agree returns the digests of values.
func Agree[T any](values map[string]T) Agreed {
	agreed := make(Agreed, len(values))
	for key, value := range values {
		agreed[key] = digest(value)
	}
	return agreed
}

// AgreeList returns the digests of the items of a list, under their keys.
func AgreeList[T any](values []T, key func(T) string) Agreed {
	agreed := make(Agreed, len(values))
	for _, value := range values {
		agreed[key(value)] = digest(value)
	}
	return agreed
}

// EncodeAgreed returns what was last written of several fields of one object as JSON,
// for the annotation [labels.Agreed]. Equal states give equal text.
func EncodeAgreed(fields map[string]Agreed) (string, error) {
	text, err := json.Marshal(fields)
	if err != nil {
		return "", fmt.Errorf("cannot encode what was last applied: %w", err)
	}
	return string(text), nil
}

// DecodeAgreed decodes the text of [EncodeAgreed]. Text that cannot be decoded, because
// somebody edited it, means that nothing was written yet.
func DecodeAgreed(text string) map[string]Agreed {
	fields := map[string]Agreed{}
	if err := json.Unmarshal([]byte(text), &fields); err != nil || fields == nil {
		return map[string]Agreed{}
	}
	return fields
}

// digest returns a text that is equal for equal values.
func digest(value any) string {
	if text, ok := value.(string); ok {
		return hash(text)[:labelHash]
	}
	text, err := json.Marshal(value)
	if err != nil {
		// What cannot be written as JSON cannot be in an API object either.
		panic(fmt.Sprintf("cannot digest %T: %v", value, err))
	}
	return hash("json", string(text))[:labelHash]
}
