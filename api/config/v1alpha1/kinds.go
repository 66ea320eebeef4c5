package v1alpha1

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	// Selects specifies that the kind has the keys of [Selected].
	Selects bool
	// CopiesLabels and CopiesAnnotations specify that the kind has the keys of
	// [CopiedLabels] and [CopiedAnnotations].
	CopiesLabels, CopiesAnnotations bool
}

// newSettings returns the defaults of the kind.
func (k Kind) newSettings() KindSettings {
	settings := KindSettings{Enabled: k.Enabled || k.Always}
	if k.Selects {
		settings.Selected = &Selected{}
	}
	if k.CopiesLabels {
		settings.CopiedLabels = &CopiedLabels{Labels: CopiedKeys{Allow: []string{}}}
	}
	if k.CopiesAnnotations {
		settings.CopiedAnnotations = &CopiedAnnotations{Annotations: CopiedKeys{Allow: []string{}}}
	}
	return settings
}

// Has reports whether the kind has a key of [KindSettings].
func (k Kind) Has(key string) bool {
	switch key {
	case "selector":
		return k.Selects
	case "labels":
		return k.CopiesLabels
	case "annotations":
		return k.CopiesAnnotations
	case "patches":
		return true
	}
	return !k.Always
}

// KindSettings are the settings that kinds have alike. The embedded ones are nil for a kind
// that does not have them.
type KindSettings struct {
	// Sync this kind.
	Enabled bool `json:"enabled"`
	// Changes of the copies before they are written, by CEL. See docs/how-to/patches.md.
	// Default: []
	Patches PatchList `json:"patches"`
	*Selected
	*CopiedLabels
	*CopiedAnnotations
}

// Selected are the settings of a kind of the host of which the tenant sees a selection.
type Selected struct {
	// Objects that the tenant sees, by matchLabels and matchExpressions of the originals. Empty selects all.
	// Default: {}
	Selector metav1.LabelSelector `json:"selector"`
}

// CopiedLabels are the settings of labels that keep their key on the host.
type CopiedLabels struct {
	// Labels that keep their key on the host. All labels are there too under keys that nothing else uses.
	Labels CopiedKeys `json:"labels"`
}

// CopiedAnnotations are the settings of annotations that reach the host.
type CopiedAnnotations struct {
	// Annotations that reach the host. All others stay in the virtual cluster.
	Annotations CopiedKeys `json:"annotations"`
}

// CopiedKeys are the keys of what reaches the host.
type CopiedKeys struct {
	// Keys, or prefixes that end with *. The tenant chooses the values. Keys of sublet.dev, kubernetes.io and
	// k8s.io never pass, except for app.kubernetes.io.
	// Default: []
	Allow []string `json:"allow" format:"key-pattern" unique:"true"`
}

// IsEnabled reports whether the kind with that path of settings is on. It returns
// false for a path that is not in the table of kinds.
func (s *Sync) IsEnabled(setting string) bool { return s.Kinds[setting].Enabled }

// SelectorOf returns the selector of a kind, an empty one if it has none.
func (s *Sync) SelectorOf(setting string) metav1.LabelSelector {
	if selected := s.Kinds[setting].Selected; selected != nil {
		return selected.Selector
	}
	return metav1.LabelSelector{}
}

// LabelsOf returns the labels of a kind that keep their key on the host.
func (s *Sync) LabelsOf(setting string) []string {
	if copied := s.Kinds[setting].CopiedLabels; copied != nil {
		return copied.Labels.Allow
	}
	return nil
}

// AnnotationsOf returns the annotations of a kind that reach the host.
func (s *Sync) AnnotationsOf(setting string) []string {
	if copied := s.Kinds[setting].CopiedAnnotations; copied != nil {
		return copied.Annotations.Allow
	}
	return nil
}

// setKinds gives every kind its defaults.
func (s *Sync) setKinds(kinds []Kind) {
	s.Kinds = make(map[string]KindSettings, len(kinds))
	for _, kind := range kinds {
		s.Kinds[kind.Setting] = kind.newSettings()
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

// takeKind moves the keys that kinds have alike from keys to Kinds.
func (s *Sync) takeKind(setting string, keys map[string]json.RawMessage) error {
	settings, known := s.Kinds[setting]
	if !known {
		if _, ok := keys["enabled"]; ok && setting != volumesSetting {
			return fmt.Errorf("cannot decode %s: no such kind", setting)
		}
		return nil
	}
	copied, before, err := settings.copy()
	if err != nil {
		return err
	}
	for key := range before {
		value, ok := keys[key]
		if !ok {
			continue
		}
		delete(keys, key)
		data, err := json.Marshal(map[string]json.RawMessage{key: value})
		if err != nil {
			return fmt.Errorf("cannot encode %s.%s: %w", setting, key, err)
		}
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&copied); err != nil {
			return fmt.Errorf("cannot decode %s.%s: %w", setting, key, err)
		}
	}
	s.Kinds[setting] = copied
	return nil
}

// copy returns a copy that shares nothing with the settings, and their keys in YAML.
func (s KindSettings) copy() (KindSettings, map[string]json.RawMessage, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return s, nil, fmt.Errorf("cannot encode the settings of a kind: %w", err)
	}
	var copied KindSettings
	keys := map[string]json.RawMessage{}
	if err := errors.Join(json.Unmarshal(data, &copied), json.Unmarshal(data, &keys)); err != nil {
		return s, nil, fmt.Errorf("cannot decode the settings of a kind: %w", err)
	}
	return copied, keys, nil
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
		_, values, err := s.Kinds[setting].copy()
		if err != nil {
			return nil, fmt.Errorf("cannot encode %s: %w", setting, err)
		}
		maps.Copy(kinds[keys[2]], values)
	}
	return json.Marshal(tree)
}
