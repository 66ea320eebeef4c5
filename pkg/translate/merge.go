package translate

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Wins says whose value counts where both sides changed the same one since they
// last agreed.
type Wins int

const (
	// HostWins takes the host's value.
	HostWins Wins = iota
	// VirtualWins takes the tenant's value.
	VirtualWins
)

// Agreed is the state of one map or keyed list that both sides last agreed on: a
// digest of each value under its key. A merge only asks whether a value is still
// the agreed one, so the values themselves, which may be large, are not kept.
type Agreed map[string]string

// Agree is what both sides agree on once they hold values.
func Agree[T any](values map[string]T) Agreed {
	agreed := make(Agreed, len(values))
	for key, value := range values {
		agreed[key] = digest(value)
	}
	return agreed
}

// AgreeList is [Agree] for a list whose items are told apart by key.
func AgreeList[T any](values []T, key func(T) string) Agreed {
	return Agree(keyed(values, key))
}

// Merge brings two maps together key by key. A side that still has the agreed
// value, or is as much without one, follows the other; where both moved, to
// different values, wins decides. The result is nil if nothing is left.
//
// With nothing agreed yet, a value that only one side has is kept.
func Merge[T any](agreed Agreed, host, virtual map[string]T, wins Wins) map[string]T {
	merged := make(map[string]T, len(host)+len(virtual))
	for key, value := range host {
		other, both := virtual[key]
		switch {
		case !both:
			if stays(agreed, key, value, wins == HostWins) {
				merged[key] = value
			}
		case followsVirtual(agreed, key, digest(value), digest(other), wins):
			merged[key] = other
		default:
			merged[key] = value
		}
	}
	for key, value := range virtual {
		if _, both := host[key]; !both && stays(agreed, key, value, wins == VirtualWins) {
			merged[key] = value
		}
	}
	if len(merged) == 0 {
		return nil
	}
	return merged
}

// stays says whether a value that one side alone has is kept: that side added it,
// or changed what the other one removed, and wins.
func stays(agreed Agreed, key string, value any, wins bool) bool {
	was, ok := agreed[key]
	return !ok || digest(value) != was && wins
}

// followsVirtual says whether the tenant's value counts for a key that both
// sides have.
func followsVirtual(agreed Agreed, key, host, virtual string, wins Wins) bool {
	was, ok := agreed[key]
	switch {
	case ok && virtual == was:
		return false
	case ok && host == was:
		return true
	default:
		return wins == VirtualWins
	}
}

// MergeList is [Merge] for lists whose items are told apart by key. Items keep
// the host's order; those that only the tenant has follow in the tenant's order.
func MergeList[T any](agreed Agreed, host, virtual []T, key func(T) string, wins Wins) []T {
	merged := Merge(agreed, keyed(host, key), keyed(virtual, key), wins)
	list := make([]T, 0, len(merged))
	for _, item := range slices.Concat(host, virtual) {
		if value, ok := merged[key(item)]; ok {
			list = append(list, value)
			delete(merged, key(item))
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list
}

func keyed[T any](values []T, key func(T) string) map[string]T {
	byKey := make(map[string]T, len(values))
	for _, value := range values {
		byKey[key(value)] = value
	}
	return byKey
}

// EncodeAgreed is the agreed state of several fields of one object as JSON, for
// the annotation [labels.Agreed]. Equal states give equal text.
func EncodeAgreed(fields map[string]Agreed) (string, error) {
	text, err := json.Marshal(fields)
	if err != nil {
		return "", fmt.Errorf("cannot encode the agreed state: %w", err)
	}
	return string(text), nil
}

// DecodeAgreed reads what [EncodeAgreed] wrote. Text that cannot be read, because
// somebody edited it, means that nothing is agreed: every difference is then
// settled by who wins, and nothing that one side alone has is lost.
func DecodeAgreed(text string) map[string]Agreed {
	fields := map[string]Agreed{}
	if err := json.Unmarshal([]byte(text), &fields); err != nil || fields == nil {
		return map[string]Agreed{}
	}
	return fields
}

// digest stands for a value: two values are equal if their digests are.
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
