package policy

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// annotationRules let annotations pass to the host.
type annotationRules struct {
	rules   []annotationRule
	setting string
}

// annotationRule lets the annotations of one pattern pass.
type annotationRule struct {
	key   string
	text  string         // the expression as it is set
	value *regexp.Regexp // nil allows every value
}

// newAnnotationRules returns the rules of a setting: pattern of keys -> regular expression
// of the whole value, empty for any.
func newAnnotationRules(patterns map[string]string, setting string) annotationRules {
	all := annotationRules{setting: setting}
	for key, text := range patterns {
		r := annotationRule{key: key, text: text}
		if text != "" {
			r.value, _ = regexp.Compile("^(?:" + text + ")$")
		}
		all.rules = append(all.rules, r)
	}
	slices.SortFunc(all.rules, func(a, b annotationRule) int { return strings.Compare(a.key, b.key) })
	return all
}

// find returns the rule for an annotation: the one for its whole key, or the one with the
// longest prefix.
func (a annotationRules) find(key string) (annotationRule, bool) {
	var best annotationRule
	for _, r := range a.rules {
		if r.key == key {
			return r, true
		}
		if MatchesKey(r.key, key) && len(r.key) > len(best.key) {
			best = r
		}
	}
	return best, best.key != ""
}

// has reports whether there is a rule for the whole key.
func (a annotationRules) has(key string) bool {
	r, found := a.find(key)
	return found && r.key == key
}

// pass reports whether an annotation is copied to the host.
func (a annotationRules) pass(key, value string) bool {
	r, found := a.find(key)
	return found && (r.value == nil || r.value.MatchString(value))
}

// check returns the annotations that are new and whose values do not match their rule.
func (a annotationRules) check(old, annotations map[string]string) []Violation {
	var violations []Violation
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		value := annotations[key]
		if stored, found := old[key]; found && stored == value {
			continue
		}
		if r, found := a.find(key); found && r.value != nil && !r.value.MatchString(value) {
			violations = append(violations, Violation{
				Field: "metadata.annotations[" + key + "]", Value: value, Setting: a.setting, Detail: "must match " + r.text,
			})
		}
	}
	return violations
}
