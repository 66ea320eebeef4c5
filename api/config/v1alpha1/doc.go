// Package v1alpha1 is the configuration of one virtual cluster: the values.yaml
// of the chart, as Go types. It is the one source of every setting. The chart's
// values.yaml, its JSON schema and the reference page are generated from it: from
// the types, their comments, their tags and [Default]. The server reads the same
// tree from a file. Keys are named as users of vCluster know them, and a key
// exists only if something reads it.
//
// The comment of a leaf ends with a line "Default: VALUE", in YAML. The
// generator compares it with [Default]. Operators read the comments in values.yaml.
// So each is a noun phrase or an imperative that does not repeat its key.
//
// Tags specify which values are valid; see [RuleOf]:
//
//	enum:"A,B"         one of these strings
//	format:"NAME"      a string, or every string of a list, of a [Format]; "NAME,optional" may be empty
//	keys:, values:     the same for the keys and the values of a map
//	min:"1" max:"9"    bounds of a number
//	unique:"true"      a list without repetitions
//
// [Combinations] has the rules about several keys.
package v1alpha1
