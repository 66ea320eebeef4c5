// Package customresources copies definitions of custom resources from the host. It starts and
// stops the kinds that sync their objects.
//
// [Definitions] runs on every replica: admission asks it for the plan of a kind.
// [Controller] runs for one term of the leader. It alone writes definitions.
package customresources
