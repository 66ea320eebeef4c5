package custom

import (
	"fmt"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/translate"
)

// purpose is what a walk is for. A walk visits the same values for each purpose, by the same rules:
//
//	                   result     beside that
//	collectProblems    problems   reads the API
//	collectRefs        refs
//	collectHostNames   names      makes host names
//	renameToHost                  makes host names, and changes the object
//
// Only the first one asks whether the tenant sees an object of the host. The others are for objects
// without problems.
type purpose int

const (
	collectProblems purpose = iota
	collectRefs
	collectHostNames
	renameToHost
)

// maxProblems bounds the problems of an object. A message shows fewer, and a tenant can write any number.
const maxProblems = 100

// walk visits the values of an object that a plan has a node for.
type walk struct {
	plan    *Plan
	purpose purpose
	// namespace is that of the object. collectRefs needs none.
	namespace string
	// cluster and resource are what host names depend on.
	cluster  translate.Cluster
	resource string

	// shown remembers which objects of the host the tenant sees, because each answer is a request.
	shown map[shownKey]bool

	// The result: the one of the purpose.
	problems []Problem
	refs     Refs
	names    HostNames
}

// shownKey is the key of the copy of an object of the host.
type shownKey struct {
	resource string
	key      types.NamespacedName
}

// needsHostNames reports whether a walk needs the names that the host has.
func (w *walk) needsHostNames() bool {
	return w.purpose == collectHostNames || w.purpose == renameToHost
}

// visit applies the rules for a value and for what is below it. set replaces the value where it is, for renameToHost.
func (w *walk) visit(n *node, value any, path string, set func(any)) {
	if n == nil || value == nil || w.isFull() {
		return
	}
	if n.rule != noRule {
		w.applyRule(n, value, path, set)
		return
	}
	switch value := value.(type) {
	case map[string]any:
		if n.items == nil {
			w.visitFields(n, value, path)
			return
		}
	case []any:
		if n.items != nil {
			for i := range value {
				w.visit(n.items, value[i], fmt.Sprintf("%s[%d]", path, i), func(v any) { value[i] = v })
			}
			return
		}
	}
	// Another version of the kind may have another form here.
	w.deny(path, nil, "does not have the form of the version that is synced")
}

// visitFields applies the rules for the fields of an object.
func (w *walk) visitFields(n *node, value map[string]any, path string) {
	for _, key := range slices.Sorted(maps.Keys(n.fields)) {
		below, current := n.fields[key], value[key]
		if current == nil && !below.optional && w.checkMissing(below, join(path, key)) {
			continue
		}
		if current == nil && below.rule == rulePodMetadata {
			current = map[string]any{} // The pods get the label of the release in any case.
		}
		w.visit(below, current, join(path, key), func(v any) { value[key] = v })
		w.setPullPolicy(below, value, key)
	}
	if n.values == nil {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(value)) {
		w.visit(n.values, value[key], path+"["+key+"]", func(v any) { value[key] = v })
	}
}

// checkMissing records the problem of a field that is left out. It reports whether it has handled the
// field.
func (w *walk) checkMissing(n *node, path string) bool {
	switch {
	case n.rule == ruleSelector || n.rule == ruleLabels:
		w.denyUnruled(path, nil, "is left out, and controllers differ in what that selects; set it")
	case n.rule == ruleHostnames:
		w.checkHostname(n, "", path)
	case n.target.produced:
		w.deny(path, nil, "must be set, as the Secret comes back under that name")
	case path == "spec":
		w.visitFields(n, map[string]any{}, path) // It may leave out what must be set.
	case n.needed && n.rule == noRule:
		w.deny(path, nil, "must be set, as the pods get the label of the release there")
	default:
		return false
	}
	return true
}

// applyRule applies a rule to a value that exists.
func (w *walk) applyRule(n *node, value any, path string, set func(any)) {
	switch n.rule {
	case ruleNames:
		w.renameEach(value, path, set, func(name, path string) string { return w.hostName(n, name, path) })
	case ruleNamespaces:
		w.renameEach(value, path, set, func(name, path string) string { return w.hostNamespace(n, name, path) })
	case ruleObjects:
		w.renameReferences(n, value, path)
	case ruleHostnames:
		w.checkHostnames(n, value, path)
	case ruleSelector:
		w.confineSelector(value, path, set)
	case ruleLabels:
		w.confineLabels(value, path, set)
	case ruleImage:
		w.renameEach(value, path, set, w.hostImage)
	case ruleGracePeriod:
		w.checkGracePeriod(value, path)
	case rulePodMetadata:
		w.confinePodMetadata(value, path, set)
	case ruleEmpty, ruleUnknown:
		w.requireEmpty(n, value, path)
	}
}

// requireEmpty denies a value that must be left out.
func (w *walk) requireEmpty(n *node, value any, path string) {
	switch {
	case isEmpty(value), n.rule == ruleEmpty && value == false:
	case n.rule == ruleEmpty:
		w.denyUnruled(path, value, "must be left out here")
	default:
		w.denyUnruled(path, value, n.why+", and no rule names it; leave it out")
	}
}

// renameEach replaces a text, or each text of a list. What is neither is denied.
func (w *walk) renameEach(value any, path string, set func(any), replace func(text, path string) string) {
	switch value := value.(type) {
	case string:
		if value != "" {
			w.set(set, replace(value, path))
		}
	case []any:
		for i := range value {
			w.renameEach(value[i], fmt.Sprintf("%s[%d]", path, i), func(v any) { value[i] = v }, replace)
		}
	default:
		w.denyUnruled(path, nil, "must be a name or a list of names by its rule")
	}
}

// set replaces a value if the walk renames.
func (w *walk) set(set func(any), value any) {
	if w.purpose == renameToHost {
		set(value)
	}
}

// hostNamespace returns the host namespace for the name of the object's own one.
func (w *walk) hostNamespace(n *node, name, path string) string {
	if slices.Contains(n.unchanged, name) {
		return name
	}
	if name != w.namespace {
		w.deny(path, name, "must be "+w.namespace+" or empty: a reference to another namespace is not possible")
	}
	if !w.needsHostNames() {
		return name
	}
	return w.cluster.Namespace
}

// confineSelector confines a label selector to the virtual namespace.
func (w *walk) confineSelector(value any, path string, set func(any)) {
	object, ok := value.(map[string]any)
	selector := &metav1.LabelSelector{}
	if !ok || runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object, selector, true) != nil {
		w.deny(path, nil, "must be a label selector with matchLabels and matchExpressions")
		return
	}
	if w.purpose != renameToHost {
		return
	}
	confined, err := runtime.DefaultUnstructuredConverter.ToUnstructured(translate.Selector(w.cluster, w.namespace, selector))
	if err != nil {
		w.deny(path, nil, "cannot be encoded")
		return
	}
	set(confined)
}

// confineLabels confines a map of labels that selects objects.
func (w *walk) confineLabels(value any, path string, set func(any)) {
	object, ok := value.(map[string]any)
	tenant := make(map[string]string, len(object))
	for key, value := range object {
		text, isText := value.(string)
		ok = ok && isText
		tenant[key] = text
	}
	if !ok {
		w.deny(path, nil, "must be a map of labels")
		return
	}
	if w.purpose != renameToHost {
		return
	}
	confined := map[string]any{}
	for key, value := range translate.SelectorLabels(w.cluster, w.namespace, tenant) {
		confined[key] = value
	}
	set(confined)
}

// deny records a problem that no setting can change.
func (w *walk) deny(path string, value any, detail string) {
	w.denyBySetting("", path, value, detail)
}

// denyUnruled records a problem that a rule of the operator can solve.
func (w *walk) denyUnruled(path string, value any, detail string) {
	w.denyBySetting(w.plan.setting+".references", path, value, detail)
}

// denyBySetting records a problem that a setting can change. A list or an object is shown by its path alone.
func (w *walk) denyBySetting(setting, path string, value any, detail string) {
	if w.purpose != collectProblems || w.isFull() {
		return
	}
	text := ""
	switch value.(type) {
	case string, bool, int64, float64:
		text = fmt.Sprint(value)
	}
	w.problems = append(w.problems, Problem{Path: path, Value: text, Detail: detail, Setting: setting})
}

// isFull reports whether the walk has as many problems as it collects. Then it ends.
func (w *walk) isFull() bool { return len(w.problems) >= maxProblems }

// isEmpty reports whether a value has nothing that could refer to anything.
func isEmpty(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case string:
		return value == ""
	case []any:
		return len(value) == 0
	}
	// An empty object selects everything for many controllers.
	return false
}
