package v1alpha1

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Switch turns a part on or off, or leaves that to the other settings. In YAML it is
// auto, or true or false with or without quotes.
type Switch string

// The values of a switch.
const (
	SwitchAuto Switch = "auto"
	SwitchOn   Switch = "true"
	SwitchOff  Switch = "false"
)

// SwitchWant describes a valid switch. Messages put "must be " before it.
const SwitchWant = "auto, true or false"

// IsSwitch reports whether a text is a valid switch.
func IsSwitch(text string) bool {
	return slices.Contains([]Switch{SwitchAuto, SwitchOn, SwitchOff}, Switch(text))
}

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Switch) UnmarshalJSON(data []byte) error {
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return fmt.Errorf("cannot decode a switch: %w", err)
	}
	text := fmt.Sprint(value)
	if !IsSwitch(text) {
		return fmt.Errorf("cannot use %s as a switch: it must be %s", data, SwitchWant)
	}
	*s = Switch(text)
	return nil
}
