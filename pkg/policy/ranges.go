package policy

import (
	"net/netip"
	"slices"
	"strings"
)

// Ranges are ranges of addresses.
type Ranges struct{ prefixes []netip.Prefix }

// NewRanges returns the ranges of a setting, which must be valid.
func NewRanges(texts []string) Ranges {
	var r Ranges
	for _, text := range texts {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			r.prefixes = append(r.prefixes, prefix.Masked())
		}
	}
	return r
}

// Contains reports whether all addresses of a range are in one of the ranges.
func (r Ranges) Contains(inner netip.Prefix) bool {
	return slices.ContainsFunc(r.prefixes, func(outer netip.Prefix) bool {
		return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
	})
}

// ContainsAddress reports whether an address is in one of the ranges. It returns false for
// a text that is no address.
func (r Ranges) ContainsAddress(text string) bool {
	address, err := netip.ParseAddr(text)
	return err == nil && address.Zone() == "" && slices.ContainsFunc(r.prefixes, func(p netip.Prefix) bool {
		return p.Contains(address.Unmap())
	})
}

// String returns the ranges for a message.
func (r Ranges) String() string {
	texts := make([]string, 0, len(r.prefixes))
	for _, prefix := range r.prefixes {
		texts = append(texts, prefix.String())
	}
	return list(texts)
}

// list returns values for a message, none for no value.
func list[T ~string](values []T) string {
	if len(values) == 0 {
		return "none"
	}
	texts := make([]string, 0, len(values))
	for _, value := range values {
		texts = append(texts, string(value))
	}
	return strings.Join(texts, ", ")
}

// only returns what of a list is allowed, as the end of a sentence.
func only(values []string) string {
	if len(values) == 0 {
		return "and no other is"
	}
	return "only " + list(values)
}
