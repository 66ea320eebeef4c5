package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Violation is one field of an object that the policies do not allow.
type Violation struct {
	// Field is the path of the field, as in spec.volumes[0].hostPath.
	Field string
	// Value is what is set there, in short. Empty leaves it out of the message.
	Value string
	// Detail is why this is not allowed, and what is, without a full stop.
	Detail string
	// Setting is the key of values.yaml that decides, as in policies.podSecurityStandard.
	Setting string
}

// maxValue is the greatest length of a value in a message, in characters.
const maxValue = 80

// How many violations a message describes. An object may have thousands, and an Event has
// room for 1024 bytes.
const (
	maxViolations      = 10
	maxShortViolations = 2
)

// String returns the field, its value, and why it is not allowed.
func (v Violation) String() string {
	if v.Value == "" {
		return fmt.Sprintf("%s: %s", v.Field, v.Detail)
	}
	value := []rune(v.Value)
	if len(value) > maxValue {
		value = append(value[:maxValue], '…')
	}
	return fmt.Sprintf("%s: %q: %s", v.Field, string(value), v.Detail)
}

// Message returns the text of a denial: the first violations, and then all settings that
// decide with who can change them. It returns an empty text for no violation.
func Message(violations []Violation) string { return describe(violations, maxViolations) }

// ShortMessage returns the text of [Message] for an Event or a condition.
func ShortMessage(violations []Violation) string { return describe(violations, maxShortViolations) }

// describe returns a text with at most so many violations.
func describe(violations []Violation, most int) string {
	if len(violations) == 0 {
		return ""
	}
	var texts, settings []string
	for i, violation := range violations {
		if i < most {
			texts = append(texts, violation.String())
		}
		if violation.Setting != "" && !slices.Contains(settings, violation.Setting) {
			settings = append(settings, violation.Setting)
		}
	}
	switch more := len(violations) - most; {
	case more == 1:
		texts = append(texts, "and 1 more field")
	case more > 1:
		texts = append(texts, fmt.Sprintf("and %d more fields", more))
	}
	text := strings.Join(texts, "; ")
	if len(settings) == 0 {
		return text
	}
	return fmt.Sprintf("%s. The operator of the host can change this with %s.", text, join(settings))
}

// join returns the words as a list in a sentence.
func join(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// at returns the path of an item of a list.
func at(list string, index int) string { return fmt.Sprintf("%s[%d]", list, index) }

// orNone returns a list of what is allowed, as the end of a sentence.
func orNone(allowed []string) string {
	if len(allowed) == 0 {
		return "none"
	}
	return join(allowed)
}
