package v1alpha1

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Kind describes the settings of one synced kind. The table of kinds is the source of
// all of them; this package knows none by itself.
type Kind struct {
	// Setting is the path of the kind's settings, such as sync.toHost.services.
	Setting string
	// Enabled is the default of its key enabled.
	Enabled bool
	// Always specifies that the kind cannot be switched off and has no key enabled.
	Always bool
}

// KindSettings are the settings that every kind has.
type KindSettings struct {
	// Sync this kind.
	Enabled bool `json:"enabled"`
}

// IsEnabled reports whether the kind with that path of settings is on. It returns
// false for a path that is not in the table of kinds.
func (s *Sync) IsEnabled(setting string) bool { return s.Kinds[setting].Enabled }

// setKinds gives every kind its default.
func (s *Sync) setKinds(kinds []Kind) {
	s.Kinds = make(map[string]KindSettings, len(kinds))
	for _, kind := range kinds {
		s.Kinds[kind.Setting] = KindSettings{Enabled: kind.Enabled || kind.Always}
	}
}

// syncTree is the YAML form of Sync: side -> kind -> key -> value.
type syncTree map[string]map[string]map[string]json.RawMessage

// UnmarshalJSON decodes the settings over those that s has. Keys that every kind has
// go to Kinds; the fields of Sync take the others. It fails for a kind that s does not
// have yet.
func (s *Sync) UnmarshalJSON(data []byte) error {
	var tree syncTree
	if err := json.Unmarshal(data, &tree); err != nil {
		return fmt.Errorf("cannot decode sync: %w", err)
	}
	s.Kinds = maps.Clone(s.Kinds)
	for side, kinds := range tree {
		for name, keys := range kinds {
			if err := s.takeKind(strings.Join([]string{"sync", side, name}, "."), keys); err != nil {
				return err
			}
			if len(keys) == 0 {
				delete(kinds, name)
			}
		}
	}
	rest, err := json.Marshal(tree)
	if err != nil {
		return fmt.Errorf("cannot encode sync: %w", err)
	}
	type plain Sync // Without this method.
	decoder := json.NewDecoder(bytes.NewReader(rest))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode((*plain)(s)); err != nil {
		return fmt.Errorf("cannot decode sync: %w", err)
	}
	return nil
}

// takeKind moves the keys that every kind has from keys to Kinds.
func (s *Sync) takeKind(setting string, keys map[string]json.RawMessage) error {
	settings, known := s.Kinds[setting]
	value, ok := keys["enabled"]
	if !ok {
		return nil
	}
	if !known {
		return fmt.Errorf("cannot decode %s: no such kind", setting)
	}
	if err := json.Unmarshal(value, &settings.Enabled); err != nil {
		return fmt.Errorf("cannot decode %s.enabled: %w", setting, err)
	}
	delete(keys, "enabled")
	s.Kinds[setting] = settings
	return nil
}

// MarshalJSON encodes the settings in their YAML form.
func (s Sync) MarshalJSON() ([]byte, error) {
	type plain Sync // Without this method.
	data, err := json.Marshal(plain(s))
	if err != nil {
		return nil, fmt.Errorf("cannot encode sync: %w", err)
	}
	tree := syncTree{}
	if err := json.Unmarshal(data, &tree); err != nil {
		return nil, fmt.Errorf("cannot decode sync: %w", err)
	}
	for _, setting := range slices.Sorted(maps.Keys(s.Kinds)) {
		keys := strings.Split(setting, ".")
		if len(keys) != 3 || tree[keys[1]] == nil {
			return nil, fmt.Errorf("cannot encode %s: not a path of a kind", setting)
		}
		kinds := tree[keys[1]]
		if kinds[keys[2]] == nil {
			kinds[keys[2]] = map[string]json.RawMessage{}
		}
		if kinds[keys[2]]["enabled"], err = json.Marshal(s.Kinds[setting].Enabled); err != nil {
			return nil, fmt.Errorf("cannot encode %s: %w", setting, err)
		}
	}
	return json.Marshal(tree)
}
