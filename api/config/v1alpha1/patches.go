package v1alpha1

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Patch changes one field of the copies of a kind before they are written.
type Patch struct {
	// Path of the field, such as spec.rules[*].host or metadata.annotations["example.com/team"].
	Path string `json:"path" format:"patch-path"`
	// CEL expression for the value in the copy. null removes the field.
	Expression string `json:"expression,omitempty"`
	// CEL expression for the value in the status that comes back from the host.
	Reverse string `json:"reverse,omitempty"`
	// CEL expression that decides whether to patch. Empty means always.
	When string `json:"when,omitempty"`
}

// PatchList are patches in their order. An empty one is nil, and encoded as [].
type PatchList []Patch

// UnmarshalJSON implements [json.Unmarshaler].
func (l *PatchList) UnmarshalJSON(data []byte) error {
	var patches []Patch
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&patches); err != nil {
		return fmt.Errorf("cannot decode patches: %w", err)
	}
	*l = nil
	if len(patches) > 0 {
		*l = patches
	}
	return nil
}

// MarshalJSON implements [json.Marshaler].
func (l PatchList) MarshalJSON() ([]byte, error) {
	if len(l) == 0 {
		return []byte("[]"), nil
	}
	return json.Marshal([]Patch(l))
}

// Patched are the patches of one kind.
type Patched struct {
	// Setting is the path of the settings of the kind.
	Setting string
	// FromHost reports whether the originals are on the host.
	FromHost bool
	// Custom reports whether the kind is of custom resources.
	Custom bool
	// Patches are in the order of the settings.
	Patches []Patch
}

// Patched returns the kinds that have patches, sorted by the path of their settings.
func (s *Sync) Patched() []Patched {
	var all []Patched
	for setting, kind := range s.Kinds {
		all = append(all, Patched{Setting: setting, FromHost: strings.HasPrefix(setting, "sync.fromHost."), Patches: kind.Patches})
	}
	for key, kind := range s.ToHost.CustomResources {
		all = append(all, Patched{Setting: "sync.toHost.customResources[" + key + "]", Custom: true, Patches: kind.Patches})
	}
	for key, kind := range s.FromHost.CustomResources {
		all = append(all, Patched{Setting: "sync.fromHost.customResources[" + key + "]", FromHost: true, Custom: true, Patches: kind.Patches})
	}
	all = slices.DeleteFunc(all, func(p Patched) bool { return len(p.Patches) == 0 })
	slices.SortFunc(all, func(a, b Patched) int { return strings.Compare(a.Setting, b.Setting) })
	return all
}

// PatchProblem is what is wrong with a patch.
type PatchProblem struct {
	// Path is the path of the setting.
	Path string
	// Value is what is set there.
	Value string
	// Detail is what is wrong, and what to do.
	Detail string
}

// PatchProblems returns what is wrong with the form of patches. It does not compile
// expressions. The paths have a valid format.
func (s *Sync) PatchProblems() []PatchProblem {
	var problems []PatchProblem
	for _, kind := range s.Patched() {
		for i, p := range kind.Patches {
			if detail := p.problem(kind.FromHost); detail != "" {
				problems = append(problems, PatchProblem{Path: fmt.Sprintf("%s.patches[%d]", kind.Setting, i), Value: p.Path, Detail: detail})
			}
		}
	}
	return problems
}

// The messages about patches. The chart has them too.
const (
	patchWithoutPath       = "has no path; name the field to change"
	patchWithoutExpression = "must have either expression, for the copy, or reverse, for the status that comes back"
	patchOfIdentity        = "is Sublet's own field; patch labels and annotations as metadata.labels[\"key\"], with a key outside of sublet.dev, and no other metadata"
	patchOfHostStatus      = "is a status, which the host writes; set reverse to change what the tenant sees of it"
	patchBackOfSpec        = "is not below status, and nothing else comes back from the host; set expression instead"
	patchBackToHost        = "goes up from the host, and nothing of it comes back; set expression instead of reverse"
)

// problem returns what is wrong with a patch, empty if nothing is.
func (p Patch) problem(fromHost bool) string {
	switch {
	case p.Path == "":
		return patchWithoutPath
	case (p.Expression == "") == (p.Reverse == ""):
		return patchWithoutExpression
	case isIdentityPath(p.Path):
		return patchOfIdentity
	}
	return p.sideProblem(fromHost)
}

// sideProblem returns what is wrong with the direction of a patch.
func (p Patch) sideProblem(fromHost bool) string {
	isStatus := p.Path == "status" || strings.HasPrefix(p.Path, "status.") || strings.HasPrefix(p.Path, "status[")
	switch {
	case fromHost && p.Reverse != "":
		return patchBackToHost
	case !fromHost && p.Expression != "" && isStatus:
		return patchOfHostStatus
	case p.Reverse != "" && !isStatus:
		return patchBackOfSpec
	}
	return ""
}

// isIdentityPath reports whether a path is of a field that identifies an object.
func isIdentityPath(path string) bool {
	first, _, _ := strings.Cut(path, ".")
	first, _, _ = strings.Cut(first, "[")
	if slices.Contains([]string{"apiVersion", "kind"}, first) {
		return true
	}
	if first != "metadata" {
		return false
	}
	for _, field := range []string{"labels", "annotations"} {
		if key, ok := strings.CutPrefix(path, "metadata."+field+`["`); ok && strings.HasSuffix(key, `"]`) {
			domain, _, _ := strings.Cut(strings.TrimSuffix(key, `"]`), "/")
			return strings.Contains(key[:len(key)-2], `"`) || domain == "sublet.dev" || strings.HasSuffix(domain, ".sublet.dev")
		}
	}
	return true
}
