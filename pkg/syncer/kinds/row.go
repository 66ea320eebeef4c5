package kinds

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// State is whether a kind is synced.
type State int

const (
	// Off is the default of kinds that few need.
	Off State = iota
	// On is the default of most kinds.
	On
	// Always is the state of a kind that cannot be switched off.
	Always
)

// Row is one row of the table: a kind, or several kinds that one setting enables together.
type Row struct {
	// Setting is the path of the kind's settings, such as sync.toHost.services. The
	// name of the kind is its last key in lower case.
	Setting string
	// State is the default.
	State State
	// Doc describes in one line what is synced.
	Doc string
	// IfOff is what else a tenant loses if the kind is off. It completes a sentence that starts
	// with "If false,". Default: nothing.
	IfOff string
	// Further are permissions that another setting of the kind needs.
	Further []Further

	// Mapped specifies that the originals are in configured namespaces of the host. The chart
	// has a Role for each of them, so Rules returns none. Default: they are in the host
	// namespace, or cluster-scoped.
	Mapped bool

	// KeepsCopies specifies that copies stay when the kind is switched off: they hold
	// data. Default: they are deleted.
	KeepsCopies bool

	// forgets specifies that the virtual copies of a kind of the host are deleted when it is switched off.
	// Default: they become the tenant's. The API server may deny objects that name a missing class.
	forgets bool

	ownKeys []string // common settings that the kind does not have, or defines itself

	name     string    // name of the kind; empty means the last key of its setting
	referrer *Referrer // what objects of the kind refer to; nil means nothing

	makers      []maker // of the kinds that run if the row is on
	alternative maker   // of the kind that runs if the row is off, nil for none
	extra       []rbacv1.PolicyRule
}

// Further is what a kind may do in the whole host cluster under a setting that is off
// by default.
type Further struct {
	// Setting is the path of that setting.
	Setting string
	// ClusterRules are the permissions.
	ClusterRules []rbacv1.PolicyRule
}

// maker creates a kind. rowName is the name of its row, which the kind uses unless it has another name.
type maker func(rowName string, o Options) syncer.Kind

// row returns the row of a kind.
func row[V, H client.Object](setting string, state State, doc string, resource func(Options) syncer.Resource[V, H]) Row {
	return Row{Setting: setting, State: state, Doc: doc, makers: []maker{define("", func(o Options) syncer.Resource[V, H] {
		return withCommonSettings(setting, o, resource(o))
	})}}
}

// define returns a maker for a resource. An empty name means that of its row.
func define[V, H client.Object](name string, resource func(Options) syncer.Resource[V, H]) maker {
	return func(rowName string, o Options) syncer.Kind {
		if name == "" {
			return syncer.Define(rowName, resource(o))
		}
		return syncer.Define(name, resource(o))
	}
}

// includes adds another kind that runs if the row is on.
func (r Row) includes(m maker) Row {
	r.makers = append(r.makers, m)
	return r
}

// instead sets the kind that runs if the row is off.
func (r Row) instead(m maker) Row {
	r.alternative = m
	return r
}

// ifOff sets IfOff.
func (r Row) ifOff(doc string) Row {
	r.IfOff = doc
	return r
}

// keepsCopies sets KeepsCopies.
func (r Row) keepsCopies() Row {
	r.KeepsCopies = true
	return r
}

// forgetsCopies sets forgets.
func (r Row) forgetsCopies() Row {
	r.forgets = true
	return r
}

// mapped sets Mapped, and the name of the kind: the last key of its setting is the name of another
// kind.
func (r Row) mapped(name string) Row {
	r.name, r.Mapped = name, true
	return r
}

// ownsKeys sets the common settings that the kind does not have, or defines itself.
func (r Row) ownsKeys(keys ...string) Row {
	r.ownKeys = keys
	return r
}

// refers sets what objects of the kind refer to.
func (r Row) refers(object client.Object, refs func(client.Object) Refs) Row {
	r.referrer = &Referrer{Object: object, Refers: refs}
	return r
}

// permits adds permissions in the host namespace that the resource does not show.
func (r Row) permits(rules ...rbacv1.PolicyRule) Row {
	r.extra = append(r.extra, rules...)
	return r
}

// permitsIf adds permissions in the host cluster that a setting needs.
func (r Row) permitsIf(setting string, rules ...rbacv1.PolicyRule) Row {
	r.Further = append(r.Further, Further{Setting: setting, ClusterRules: rules})
	return r
}

// Name returns the name of the kind, by default the last key of its setting in lower case.
func (r Row) Name() string {
	if r.name != "" {
		return r.name
	}
	return strings.ToLower(r.Setting[strings.LastIndexByte(r.Setting, '.')+1:])
}

// Settings describes the settings of the kind for package v1alpha1.
func (r Row) Settings() v1alpha1.Kind {
	has := func(owner syncer.Side, key string) bool {
		return r.ifOn(Options{})[0].Owner() == owner && !slices.Contains(r.ownKeys, key)
	}
	return v1alpha1.Kind{
		Setting: r.Setting, Enabled: r.State == On, Always: r.State == Always,
		Selects: has(syncer.Host, "selector"), CopiesLabels: has(syncer.Virtual, "labels"), CopiesAnnotations: has(syncer.Virtual, "annotations"),
	}
}

// Switch returns the path of the setting that switches the kind, empty if it is always
// on.
func (r Row) Switch() string {
	if r.State == Always {
		return ""
	}
	return r.Setting + ".enabled"
}

// Enabled reports whether the kind is on under these settings.
func (r Row) Enabled(sync v1alpha1.Sync) bool {
	return r.State == Always || sync.IsEnabled(r.Setting)
}

// Define returns the kinds that run under these options.
func (r Row) Define(o Options) []syncer.Kind {
	if r.Enabled(o.Sync) {
		return r.ifOn(o)
	}
	return r.alternatives(o)
}

// ifOn returns the kinds that run if the row is on.
func (r Row) ifOn(o Options) []syncer.Kind {
	kinds := make([]syncer.Kind, 0, len(r.makers))
	for _, m := range r.makers {
		kinds = append(kinds, m(r.Name(), o))
	}
	return kinds
}

// alternatives returns the kinds that run if the row is off.
func (r Row) alternatives(o Options) []syncer.Kind {
	if r.alternative == nil {
		return nil
	}
	return []syncer.Kind{r.alternative(r.Name(), o)}
}

// Leftovers returns the kinds of the row that these options switch off and that may still have copies. It omits
// a kind that the settings sync as a custom resource, as the copies are those of that one.
func (r Row) Leftovers(o Options) []syncer.Leftover {
	if r.Enabled(o.Sync) {
		return nil
	}
	var leftovers []syncer.Leftover
	for i, kind := range r.ifOn(o) {
		switch {
		case o.Sync.HasDefinition(definitionOf(kind)):
		case kind.Owner() == syncer.Virtual:
			leftovers = append(leftovers, syncer.Leftover{Kind: kind, Keep: r.KeepsCopies, Quiet: r.State == Off})
		case i == 0 && r.forgets:
			leftovers = append(leftovers, syncer.Leftover{Kind: kind, Quiet: true})
		}
	}
	return leftovers
}

// definitionOf returns the name that the definition of a kind has if it is a custom resource.
func definitionOf(kind syncer.Kind) string {
	gvk, err := apiutil.GVKForObject(kind.NewHost(), scheme.Scheme)
	if err != nil {
		return ""
	}
	plural, _ := meta.UnsafeGuessKindToResource(gvk)
	return plural.GroupResource().String()
}

// Kinds returns all kinds of the row: those that run if it is on, and those that run if it is off.
func (r Row) Kinds() (on, off []syncer.Kind) {
	return r.ifOn(Options{}), r.alternatives(Options{})
}

// Rules returns the permissions that the kinds of the row need if it is on. They are for the host
// namespace and for the whole host cluster. They have no verbs that are not used.
func (r Row) Rules() (namespaced, cluster []rbacv1.PolicyRule) {
	if r.Mapped {
		return nil, nil
	}
	namespaced, cluster = rulesOf(r.ifOn(Options{}))
	return append(namespaced, r.extra...), cluster
}

// RulesIfOff returns the permissions of the kinds that run if the row is off.
func (r Row) RulesIfOff() (namespaced, cluster []rbacv1.PolicyRule) {
	return rulesOf(r.alternatives(Options{}))
}

// LeftoverRules returns the permissions to delete leftover copies while a row is switched off. Copies
// that hold data are only listed. A row that is off by default needs none.
func (r Row) LeftoverRules() (namespaced, cluster []rbacv1.PolicyRule) {
	if r.State != On {
		return nil, nil
	}
	var left []syncer.Kind
	for _, kind := range r.ifOn(Options{}) {
		if kind.Owner() == syncer.Virtual {
			left = append(left, kind)
		}
	}
	namespaced, cluster = rulesOf(left)
	verbs := []string{"delete", "list"}
	if r.KeepsCopies {
		verbs = []string{"list"}
	}
	for _, rules := range [][]rbacv1.PolicyRule{namespaced, cluster} {
		for i := range rules {
			rules[i].Verbs = verbs
		}
	}
	return namespaced, cluster
}

// rulesOf returns the permissions that kinds need to manage their host copies, or to read their host
// originals.
func rulesOf(kinds []syncer.Kind) (namespaced, cluster []rbacv1.PolicyRule) {
	for _, kind := range kinds {
		verbs := read()
		if kind.Owner() == syncer.Virtual {
			verbs = manage()
		}
		gvk, err := apiutil.GVKForObject(kind.NewHost(), scheme.Scheme)
		if err != nil {
			continue // Not a built-in kind: its permissions are not generated.
		}
		plural, _ := meta.UnsafeGuessKindToResource(gvk)
		into := &namespaced
		if syncer.IsClusterScoped(gvk.GroupKind()) || kind.SeesWholeHost() {
			into = &cluster
		}
		if !covers(*into, gvk.Group, plural.Resource) {
			*into = append(*into, rule(verbs, gvk.Group, plural.Resource))
		}
	}
	return namespaced, cluster
}

// covers reports whether rules already have a resource. The kinds of a row are ordered so that the first
// one of a resource needs the most verbs.
func covers(rules []rbacv1.PolicyRule, group, resource string) bool {
	return slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool {
		return slices.Contains(r.APIGroups, group) && slices.Contains(r.Resources, resource)
	})
}

// read returns the verbs of a kind that the host owns.
func read() []string { return []string{"get", "list", "watch"} }

// patch returns the verb for subresources and for objects that a setting allows to change.
func patch() []string { return []string{"patch"} }

// manage returns the verbs of a kind that the virtual cluster owns. The engine never
// replaces a whole host object.
func manage() []string { return []string{"create", "delete", "get", "list", "patch", "watch"} }

// rule returns a permission on resources of one API group.
func rule(verbs []string, group string, resources ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: verbs}
}
