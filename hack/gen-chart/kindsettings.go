package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// withKinds returns the settings below a path with those of the kinds there, in the
// order of the table. It fails if a setting at the place of a kind belongs to none.
func (d comments) withKinds(settings []setting, path []string) ([]setting, error) {
	if len(path) != 2 || path[0] != "sync" {
		return settings, nil
	}
	var all []setting
	for _, row := range kinds.Table() {
		key, ok := strings.CutPrefix(row.Setting, strings.Join(path, ".")+".")
		if !ok {
			continue
		}
		s := setting{key: key, path: append(slices.Clone(path), key), kind: reflect.TypeFor[v1alpha1.KindSettings]()}
		if i := slices.IndexFunc(settings, func(s setting) bool { return s.key == key }); i >= 0 {
			s.children = settings[i].children
			settings = slices.Delete(settings, i, i+1)
		}
		s.doc = row.Doc
		shared, err := d.sharedBy(row, s.path)
		if err != nil {
			return nil, err
		}
		patches, err := d.patchesOf(s.path)
		if err != nil {
			return nil, err
		}
		s.children = append(append(shared, s.children...), patches)
		all = append(all, s)
	}
	for _, s := range settings {
		if s.key == "customResources" || s.key == "persistentVolumes" {
			all = append(all, s) // A map of kinds that no table has, and a part of another kind.
			continue
		}
		return nil, fmt.Errorf("%s: no kind has these settings", strings.Join(s.path, "."))
	}
	return all, nil
}

// sharedBy returns the settings of a row that kinds have alike.
func (d comments) sharedBy(row kinds.Row, path []string) ([]setting, error) {
	var all []setting
	if row.State != kinds.Always {
		all = append(all, d.switchOf(row, path))
	}
	has, none := row.Settings(), map[string]any{"allow": []any{}}
	for _, part := range []struct {
		on       bool
		keys     reflect.Type
		defaults map[string]any
	}{
		{has.Selects, reflect.TypeFor[v1alpha1.Selected](), map[string]any{"selector": map[string]any{}}},
		{has.CopiesLabels, reflect.TypeFor[v1alpha1.CopiedLabels](), map[string]any{"labels": none}},
		{has.CopiesAnnotations, reflect.TypeFor[v1alpha1.CopiedAnnotations](), map[string]any{"annotations": none}},
	} {
		if !part.on {
			continue
		}
		keys, err := d.settings(part.keys, path, part.defaults)
		if err != nil {
			return nil, err
		}
		all = append(all, keys...)
	}
	return all, nil
}

// offEffects returns what happens when a row is switched off.
func offEffects(row kinds.Row) []string {
	var effects []string
	if row.IfOff != "" {
		effects = append(effects, row.IfOff)
	}
	with, _ := row.Kinds()
	switch {
	case with[0].Owner() != syncer.Virtual:
	case row.State == kinds.Off:
		effects = append(effects, "copies from before stay on the host until the release is removed")
	case row.KeepsCopies:
		effects = append(effects, "the copies on the host stay, because they hold data")
	default:
		effects = append(effects, "the copies on the host are deleted")
	}
	return effects
}

// switchOf returns the setting that switches a kind.
func (d comments) switchOf(row kinds.Row, path []string) setting {
	field := reflect.TypeFor[v1alpha1.KindSettings]().Field(0)
	doc := d["KindSettings."+field.Name]
	if _, cluster := row.Rules(); len(cluster) > 0 {
		doc = fmt.Sprintf("%s (needs %s on %s in the whole host).",
			strings.TrimSuffix(doc, "."), strings.Join(cluster[0].Verbs, ", "), cluster[0].Resources[0])
	}
	if ends := offEffects(row); len(ends) > 0 {
		doc += " If false, " + strings.Join(ends, ", and ") + "."
	}
	return setting{
		key: "enabled", path: append(slices.Clone(path), "enabled"), doc: doc,
		kind: field.Type, rule: v1alpha1.RuleOf(field), fallback: row.State == kinds.On,
	}
}

// patchesOf returns the setting of the patches of a kind.
func (d comments) patchesOf(path []string) (setting, error) {
	field, _ := reflect.TypeFor[v1alpha1.KindSettings]().FieldByName("Patches")
	s := setting{key: "patches", path: append(slices.Clone(path), "patches"), kind: field.Type, rule: v1alpha1.RuleOf(field), fallback: []any{}}
	var err error
	s.doc, err = splitDefault(s, d["KindSettings."+field.Name])
	return s, err
}
