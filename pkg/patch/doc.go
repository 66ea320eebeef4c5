// Package patch changes copies of objects by expressions of the operator. It is pure.
//
// A [Set] is compiled from the patches of one kind. It changes one field per patch, to the
// value of an expression in CEL. The value that the expression gets is that of the original,
// not that of an earlier copy. So the result depends on the original alone, and a second
// reconcile finds nothing to write. It does not guarantee that the host takes the result.
package patch
