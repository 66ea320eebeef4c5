package v1alpha1

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Toggle switches a part on or off, or leaves that to the other settings. In YAML it is
// auto, or true or false with or without quotes.
type Toggle string

// The values of a toggle.
const (
	ToggleAuto Toggle = "auto"
	ToggleOn   Toggle = "true"
	ToggleOff  Toggle = "false"
)

// ToggleWant describes a valid toggle. Messages put "must be " before it.
const ToggleWant = "auto, true or false"

// IsToggle reports whether a text is a valid toggle.
func IsToggle(text string) bool {
	return slices.Contains([]Toggle{ToggleAuto, ToggleOn, ToggleOff}, Toggle(text))
}

// UnmarshalJSON implements [json.Unmarshaler].
func (t *Toggle) UnmarshalJSON(data []byte) error {
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return fmt.Errorf("cannot decode a toggle: %w", err)
	}
	text := fmt.Sprint(value)
	if !IsToggle(text) {
		return fmt.Errorf("cannot use %s as a toggle: it must be %s", data, ToggleWant)
	}
	*t = Toggle(text)
	return nil
}
